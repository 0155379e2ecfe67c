"""Polygraphy's runners for our graphs: ONNX Runtime as our backends open it, or TensorRT."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from polygraphy import config
from polygraphy.backend.onnx import ModifyOutputs, OnnxFromPath
from polygraphy.backend.onnxrt import OnnxrtRunner
from polygraphy.comparator import Comparator, RunResults
from polygraphy.logger import G_LOGGER

from vidtok_edge.errors import BackendUnavailable
from vidtok_edge.runtime.backends.backend import Backend
from vidtok_edge.runtime.backends.gpu import present_gpu

__all__ = ["marked", "ran", "runner", "silent"]

Array = NDArray[Any]


@contextmanager
def silent() -> Iterator[None]:
    """Keep Polygraphy's log out of what a command prints; it raises what matters."""
    with G_LOGGER.verbosity(G_LOGGER.CRITICAL):
        yield


def marked(path: Path, tensors: Sequence[str]) -> bytes:
    """The graph in the file `path` with `tensors` as its outputs; its weights stay beside it."""
    with silent():
        model = ModifyOutputs(OnnxFromPath(str(path), ignore_external_data=True), list(tensors))()
    content: bytes = model.SerializeToString()
    return content


def runner(path: Path, backend: Backend, name: str, threads: int | None) -> Any:
    """A runner of Polygraphy's for the graph in the file `path`.

    Args:
        path: an ONNX file.
        backend: what is really to run it; TensorRT compiles it first, strongly typed.
        name: in Polygraphy's log.
        threads: CPU threads of a call; ONNX Runtime's choice where None.

    Raises BackendUnavailable: there is no GPU for TensorRT.
    """
    if backend.target is None:
        from vidtok_edge.runtime.backends.onnxruntime import open_session

        return OnnxrtRunner(lambda: open_session(path, backend, threads)[0], name=name)
    if present_gpu() is None:  # without a driver TensorRT's builder may end the process
        raise BackendUnavailable(f"{backend} runs engines on an NVIDIA GPU, and none was found.")
    return _engine_runner(path, backend, name)


def _engine_runner(path: Path, backend: Backend, name: str) -> Any:
    """Unverified on hardware."""
    config.USE_TENSORRT_RTX = backend is Backend.TENSORRT_RTX
    from polygraphy.backend.trt import EngineFromNetwork, NetworkFromOnnxPath, TrtRunner

    network = NetworkFromOnnxPath(str(path), strongly_typed=True)
    return TrtRunner(EngineFromNetwork(network), name=name)


def ran(
    pairs: Sequence[tuple[Any, Mapping[str, Array]]], compared: Callable[..., Mapping[str, object]]
) -> None:
    """Run each runner on its own inputs, and let Polygraphy's comparator compare what came out.

    Args:
        pairs: two runners with their inputs.
        compared: is given what each gave, by tensor; its values are truthy where they agree.
    """
    results = RunResults()
    with silent():
        for one, feed in pairs:
            results.append(Comparator.run([one], data_loader=[dict(feed)])[0])
        Comparator.compare_accuracy(results, compare_func=compared)
