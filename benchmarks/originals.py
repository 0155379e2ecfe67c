"""The original modules as candidates: PyTorch eager and compiled, and a naive ONNX export of them.

Each call is one chunk with a zero past: what a step does, without caches. All three keep their
libraries' defaults. A module's own time is the step's; converting frames and quantising, which step
graphs do inside, is not in it.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray

from vidtok_edge.errors import BackendUnavailable
from vidtok_edge.export.bundle_verify import reference_of
from vidtok_edge.lowering.interface import KINDS
from vidtok_edge.lowering.step import Kind
from vidtok_edge.runtime import Bundle, StreamDecoder, StreamEncoder
from vidtok_edge.runtime.backends.step import BackendInfo, OnDevice, StepTimes
from vidtok_edge.runtime.bench.measuring.candidate import Candidate
from vidtok_edge.runtime.manifest.graphs import GraphSpec
from vidtok_edge.vidtok_ref import VidTok
from vidtok_edge.vidtok_ref.regularizer import codes_from_tokens, fsq

__all__ = ["OriginalStep", "export_naive", "open_original", "original"]

Compute = Callable[[torch.Tensor], torch.Tensor]
COMPILED, EAGER, NAIVE = "compiled", "eager", "naive"


def original(bundle: Path, how: str) -> Candidate:
    """The model of `bundle` run as `how` says; a naive export must lie beside the bundle."""
    return Candidate(str(bundle), how, "fp32", opener=f"{__name__}:open_original")


def open_original(
    bundle: Bundle, candidate: Candidate, decode: bool
) -> tuple[StreamEncoder, StreamDecoder | None]:
    """The `Opener` of these candidates. Compiling is part of it.

    Raises BackendUnavailable where torch.compile does not work here.
    """
    model = None if candidate.backend == NAIVE else reference_of(bundle, None)
    encoder, decoder = (_step(bundle, kind, candidate.backend, model) for kind in KINDS)
    if candidate.backend == COMPILED:
        for step in (encoder, decoder):
            _compile_now(step)
    manifest = bundle.manifest
    return StreamEncoder(manifest, encoder), StreamDecoder(manifest, decoder) if decode else None


def _step(bundle: Bundle, kind: Kind, how: str, model: VidTok | None) -> OriginalStep:
    levels = bundle.manifest.model.levels
    graph = bundle.manifest.graph(kind, "fp32")
    if model is None:
        compute, library = _session(naive_file(bundle.path, kind)), f"onnxruntime {ort.__version__}"
    else:
        module = model.encoder if kind == "encoder" else model.decoder
        compute = torch.compile(module) if how == COMPILED else module
        library = f"torch {torch.__version__}"
    return OriginalStep(graph, levels, compute, BackendInfo(how, how, library, ""))


def _compile_now(step: OriginalStep) -> None:
    try:
        step.run()
    except Exception as error:  # a missing C++ compiler, above all
        why = str(error).strip().partition("\n")[0]
        raise BackendUnavailable(
            f"torch.compile does not work here: {why[:300]}. Leave --compile out."
        ) from None


class OriginalStep:
    """An encoder or decoder of the original as a `runtime.backends.step.Step` of FSQ."""

    def __init__(
        self, graph: GraphSpec, levels: tuple[int, ...], compute: Compute, info: BackendInfo
    ) -> None:
        self.graph, self.info, self.times = graph, info, StepTimes(0, 0, 0)
        self.device: OnDevice | None = None
        self._levels, self._compute = levels, compute
        self.inputs: Mapping[str, NDArray[Any]] = _zeros(graph.host_inputs)
        self.outputs: Mapping[str, NDArray[Any]] = _zeros(graph.host_outputs)

    def run(self) -> None:
        with torch.inference_mode():
            if self.graph.kind == "encoder":
                self._encode()
            else:
                self._decode()

    def _encode(self) -> None:
        frames = torch.from_numpy(self.inputs["frames"])
        video = frames.permute(0, 4, 1, 2, 3).float() / 127.5 - 1.0
        latent = self._timed(video.contiguous())
        _, tokens = fsq(latent, self._levels)
        self.outputs["tokens"][...] = tokens.numpy()
        if "latent" in self.outputs:
            self.outputs["latent"][...] = latent.permute(0, 2, 1, 3, 4).numpy()

    def _decode(self) -> None:
        codes = codes_from_tokens(torch.from_numpy(self.inputs["tokens"]), self._levels)
        video = self._timed(codes.contiguous()).permute(0, 2, 3, 4, 1)
        pixels = video.clamp(-1.0, 1.0).add(1.0).mul(127.5).round().to(torch.uint8)
        self.outputs["frames"][...] = pixels.numpy()

    def _timed(self, value: torch.Tensor) -> torch.Tensor:
        start = time.perf_counter_ns()
        result = self._compute(value)
        self.times = StepTimes(0, time.perf_counter_ns() - start, 0)
        return result

    def caches(self) -> dict[str, NDArray[Any]]:
        return {}

    def set_caches(self, values: Mapping[str, NDArray[Any]]) -> None:
        pass

    def close(self) -> None:
        pass

    def __enter__(self) -> OriginalStep:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _zeros(specs: Any) -> dict[str, NDArray[Any]]:
    return {spec.name: np.zeros(spec.shape, spec.dtype) for spec in specs}


# --- a naive export ---------------------------------------------------------------------------


def naive_file(bundle: Path, kind: Kind) -> Path:
    """Where the naive export of a bundle's model lies: not inside it."""
    return bundle.parent / f"naive.{kind}.onnx"


def export_naive(bundle: Bundle) -> None:
    """The original modules as `torch.onnx.export` writes them, beside `bundle`."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    model, manifest = reference_of(bundle, None), bundle.manifest
    factor, grid = manifest.model.time_factor, manifest.height // manifest.model.space_factor
    shapes: dict[Kind, tuple[int, ...]] = {
        "encoder": (1, 3, factor, manifest.height, manifest.width),
        "decoder": (
            1,
            manifest.model.z_channels,
            1,
            grid,
            manifest.width * grid // manifest.height,
        ),
    }
    for kind, shape in shapes.items():
        module = model.encoder if kind == "encoder" else model.decoder
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module, (torch.zeros(shape),), dynamo=True, opset_version=20, verbose=False
            )
        assert program is not None
        program.save(str(naive_file(bundle.path, kind)), external_data=True)


def _session(path: Path) -> Compute:
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda value: torch.from_numpy(session.run(None, {name: value.numpy()})[0])
