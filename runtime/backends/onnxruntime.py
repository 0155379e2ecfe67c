"""ONNX Runtime: the CPU provider, and where present CUDA's and TensorRT-RTX's (unverified on
hardware).

Its provider of classic TensorRT is not used: it compiles for minutes, unasked, and keeps no
sidecar. TensorRT-RTX's is taken when it is asked for by name, to be compared with engines.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from vidtok_edge.errors import (
    BackendUnavailable,
    BundleError,
    BundleMismatch,
    DeviceError,
    GraphFailed,
    OutOfMemory,
    VidTokEdgeError,
)
from vidtok_edge.runtime.backends.backend import Backend
from vidtok_edge.runtime.backends.onnxruntime_cuda import (
    CUDA,
    absent_provider,
    cuda_session,
    obstacle_of_error,
    obstacle_of_fallback,
)
from vidtok_edge.runtime.backends.onnxruntime_memory import NamedMemory, PluginMemory, ValueMemory
from vidtok_edge.runtime.backends.onnxruntime_messages import reason_of
from vidtok_edge.runtime.backends.onnxruntime_rtx import rtx_device, rtx_library, rtx_session
from vidtok_edge.runtime.backends.step import (
    BackendInfo,
    OnDevice,
    StepTimes,
    check_caches,
    step_closed,
)
from vidtok_edge.runtime.manifest.cache_copies import copied_caches
from vidtok_edge.runtime.manifest.graphs import GraphSpec, TensorSpec
from vidtok_edge.runtime.manifest.pair_sums import saturating_layers

__all__ = ["PROVIDERS", "OnnxRuntimeStep", "open_session"]

PROVIDERS = {
    "cuda": CUDA,
    "cpu": "CPUExecutionProvider",
}
FASTEST = ("cuda", "cpu")

_ERRORS, _ONLY_FATAL = 3, 4
"""Severities of ONNX Runtime's log."""

_HOST = ort.OrtMemType.DEFAULT
_HOST_MEMORIES = ("Cpu", "CudaPinned")
"""Names of memory that the CPU reads, as ONNX Runtime's allocator.h gives them."""

_OPTIMIZERS_OFF = ["WeightBiasQuantization"]
"""It makes INT8 of a convolution that a policy keeps in float, where its neighbours are in INT8."""

CPU_ENTRIES = {
    "session.use_env_allocators": "1",
    # Threads that wait for work sleep: docs/decisions/42-threads-sleep.md.
    "session.intra_op.allow_spinning": "0",
}
"""Options of a session on the CPU, by ONNX Runtime's own names."""

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
    "tensor(int32)": "int32",
    "tensor(bool)": "bool",
}


class OnnxRuntimeStep:
    """A step graph in ONNX Runtime, its caches in two sets used in turn.

    Two IO bindings are made once, one for each direction, so a call binds and allocates nothing.
    The sets share what a call has copied before it writes the new caches, which is nearly all of
    them on the CPU. No other output is bound to its own input's memory: what reads a cache after
    that would read the new one.
    """

    def __init__(
        self,
        graph: GraphSpec,
        path: Path,
        backend: str,
        threads: int | None = None,
        to_compare: bool = False,
    ) -> None:
        self.graph = graph
        self._session, self.info = open_session(path, backend, threads)
        _check_interface(graph, self._session)
        self.times = StepTimes(0, 0, 0)
        self.device: OnDevice | None = None
        self.inputs: Mapping[str, NDArray[Any]] = _buffers(graph.host_inputs)
        outputs = graph.host_outputs if to_compare else graph.stream_outputs
        self.outputs: Mapping[str, NDArray[Any]] = _buffers(outputs)
        places = _places(self._session, self.info.active)
        self._memory = _memories(self.info.active)
        self._memory_of = {name: self._memory[place] for name, place in places.items()}
        self._given = {
            name: self._memory_of[name].holding(array) for name, array in self.inputs.items()
        }
        # On the CPU these share the memory of `inputs`. Elsewhere they are copies, to be renewed
        # for each call: an IO binding copies a host array when it is bound, not when it runs.
        self._copied = [name for name in self.inputs if places[name] != "cpu"]
        shared = _copied_caches(graph, path) if self.info.active == "cpu" else frozenset()
        # Uninitialised, which the `start` selection of every graph allows.
        first = {old.name: self._memory_of[old.name].empty(old) for old, _ in graph.caches}
        apart = {
            old.name: self._memory_of[old.name].empty(old)
            for old, _ in graph.caches
            if old.name not in shared
        }
        self._state = [first, {**first, **apart}]
        if on_host := [o.name for o, _ in graph.caches if places[o.name] != self.info.active]:
            why = f"{len(on_host)} of {len(graph.caches)} caches are read on the CPU"
            self.info = replace(self.info, fell_back=f"{self.info.active}: {why}")
        self._bindings = [self._bind(0, 1), self._bind(1, 0)]
        self._turn = 0

    def run(self) -> None:
        self._require_open()
        begin = start = time.perf_counter_ns()
        if self._copied:
            for name in self._copied:
                self._memory_of[name].write(self._given[name], self.inputs[name])
            start = time.perf_counter_ns()
        try:
            self._session.run_with_iobinding(self._bindings[self._turn])
        except Exception as error:  # ORT raises bare Exception subclasses of its own
            self.close()  # some caches may be new and others old, in the same memory
            raise self._failure(error) from error
        self.times = StepTimes(start - begin, time.perf_counter_ns() - start, 0)
        self._turn = 1 - self._turn

    def caches(self) -> dict[str, NDArray[Any]]:
        self._require_open()
        state = self._state[self._turn]
        return {
            old.name: self._memory_of[old.name].read(state[old.name], old)
            for old, _ in self.graph.caches
        }

    def set_caches(self, values: Mapping[str, NDArray[Any]]) -> None:
        self._require_open()
        check_caches(self.graph, values)
        for name, value in self._state[self._turn].items():
            self._memory_of[name].write(value, np.ascontiguousarray(values[name]))

    def close(self) -> None:
        self._bindings.clear()
        self._state.clear()
        self._given.clear()
        self._session = None

    def __enter__(self) -> OnnxRuntimeStep:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _require_open(self) -> None:
        if self._session is None:
            raise step_closed()

    def _failure(self, error: Exception) -> VidTokEdgeError:
        reason = reason_of(error)
        if OutOfMemory.is_told_by(error):
            return OutOfMemory(f"{self.graph.file}: {reason}")
        said = f"{self.graph.file} fails on {self.info.active}: {reason.rstrip('.')}."
        if self.info.active == "cpu":
            return GraphFailed(f"{said} Export the bundle again.")
        return DeviceError(f"{said} Try it on the CPU: --backend cpu.")

    def _bind(self, read: int, write: int) -> Any:
        binding = self._session.io_binding()
        for name, value in self._given.items():
            binding.bind_ortvalue_input(name, value)
        for name, array in self.outputs.items():
            binding.bind_ortvalue_output(name, self._memory["cpu"].holding(array))
        for old, new in self.graph.caches:
            binding.bind_ortvalue_input(old.name, self._state[read][old.name])
            binding.bind_ortvalue_output(new.name, self._state[write][old.name])
        return binding


def _buffers(specs: tuple[TensorSpec, ...]) -> dict[str, NDArray[Any]]:
    return {spec.name: np.zeros(spec.shape, spec.dtype) for spec in specs}


def _places(session: Any, device: str) -> dict[str, str]:
    """Where the session reads each input: on `device`, or on the CPU.

    The CPU runs what CUDA has no operator for, as a Where of INT8 caches. An IO binding copies a
    value that lies elsewhere once, when it is bound, so what a call writes there is never read.
    """
    names = [node.name for node in session.get_inputs()]
    if device == "cpu" or not hasattr(session, "get_input_memory_infos"):  # before 1.23
        return dict.fromkeys(names, device)
    infos = session.get_input_memory_infos()
    return {
        name: "cpu" if info.name in _HOST_MEMORIES else device
        for name, info in zip(names, infos, strict=True)
    }


def _memories(device: str) -> dict[str, ValueMemory]:
    """Of the host, and of what runs the graph."""
    found: dict[str, ValueMemory] = {"cpu": NamedMemory("cpu")}
    if device == Backend.ONNXRUNTIME_RTX:
        found[device] = PluginMemory(rtx_device()[0])
    elif device != "cpu":
        found[device] = NamedMemory(device)
    return found


def _copied_caches(graph: GraphSpec, path: Path) -> frozenset[str]:
    try:
        return copied_caches(path, [(old.name, new.name) for old, new in graph.caches])
    except (ValueError, OSError):
        return frozenset()  # two sets serve any graph that ONNX Runtime has loaded


def open_session(path: Path, backend: str, threads: int | None) -> tuple[Any, BackendInfo]:
    """A session on `backend`; for `onnxruntime` on the first of `FASTEST` that takes the graph."""
    library = f"onnxruntime {ort.__version__}"
    passed_over: list[str] = []
    for name in FASTEST if backend == "onnxruntime" else (backend,):
        session, why = _try_provider(path, name, threads)
        if session is not None:
            if name == Backend.ONNXRUNTIME_RTX:
                library += f", {rtx_library()}"
            return session, BackendInfo(backend, name, library, "; ".join(passed_over))
        # Not being installed is no fallback: nobody asked for it.
        if not why.startswith("not in this build") or backend != "onnxruntime":
            passed_over.append(f"{name}: {why}")
    raise BackendUnavailable(
        f"The backend {backend!r} cannot run {path.name}: {'; '.join(passed_over)}. "
        f"Providers here: {', '.join(ort.get_available_providers())}."
    )


def _try_provider(path: Path, name: str, threads: int | None) -> tuple[Any, str]:
    """A session whose first provider is `name`, or None and why not.

    ONNX Runtime falls back to the CPU with a log line where a provider fails to start, so what is
    active is read back from the session.
    """
    if name == Backend.ONNXRUNTIME_RTX:
        options = ort.SessionOptions()
        options.log_severity_level = _ERRORS
        return rtx_session(path, options)
    provider = PROVIDERS[name]
    if provider not in ort.get_available_providers():
        if name == "cuda":
            return None, str(absent_provider())
        install = 'Install it with: pip install "vidtok-edge[ort]"'
        return None, f"not in this build of ONNX Runtime ({provider}). {install}"
    options = ort.SessionOptions()
    # What fails is raised, so its log is in the way, and would print names of the graph as they
    # are; but of CUDA the log alone says why it was passed over. Options of each run could silence
    # it there, and cost 77 us a call.
    options.log_severity_level = _ONLY_FATAL if name == "cpu" else _ERRORS
    if threads is not None:
        options.intra_op_num_threads = threads
    if name == "cpu":
        for entry, value in CPU_ENTRIES.items():
            options.add_session_config_entry(entry, value)
        # docs/decisions/32-one-arena.md has what the arena and both of these save.
        _share_one_arena()
        options.enable_mem_pattern = False
        # A tensor's memory would wait, idle, for the next tensor of the same shape.
        options.enable_mem_reuse = False
        # Graphs exported before their weights were made for it: without VNNI (before Zen 4,
        # Cascade Lake) sums of 16 bits saturate, and the embedded model then lost 0.7 dB on one of
        # its clips, where it loses 0.1 dB with this. It costs 1.4 times the time with VNNI, too.
        if not _sums_are_exact(path):
            options.add_session_config_entry("session.x64quantprecision", "1")
    # TF32 is on by default and keeps 10 bits of the mantissa: that is not what fp32 promises.
    cuda = (PROVIDERS["cuda"], {"use_tf32": "0"})
    said = ""
    _require_text(path)
    try:
        if name == "cpu":
            session = ort.InferenceSession(
                str(path), options, providers=[provider], disabled_optimizers=_OPTIMIZERS_OFF
            )
        else:
            session, said = cuda_session(str(path), options, [cuda, PROVIDERS["cpu"]])
    except Exception as error:  # ORT raises bare Exception subclasses of its own
        reason = reason_of(error)
        if name == "cpu" and OutOfMemory.is_told_by(error):
            raise OutOfMemory(f"{path}: {reason}") from None
        if name == "cpu":
            raise BundleError(
                f"ONNX Runtime cannot load {path}: {reason.rstrip('.')}. Export the bundle again."
            ) from None
        return None, str(obstacle_of_error(reason))
    active = session.get_providers()[0]
    if active != provider:
        return None, f"ONNX Runtime fell back to {active}: {obstacle_of_fallback(said)}"
    return session, ""


def _require_text(path: Path) -> None:
    """Raise BundleError where a path has bytes that are no text: ONNX Runtime takes text alone."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise BundleError(
            f"ONNX Runtime cannot load {path}: its name is no text as Python reads it here. Rename "
            "the folder, or set PYTHONUTF8=1 where its name is UTF-8."
        ) from None


def _sums_are_exact(path: Path) -> bool:
    try:
        return not saturating_layers(path)
    except (ValueError, OSError):
        return False  # what ONNX Runtime says of the file is raised


@functools.cache
def _share_one_arena() -> None:
    """Give all CPU sessions of this process one arena."""
    memory = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, _HOST)
    # Zero and -1: ONNX Runtime's own limits.
    with contextlib.suppress(RuntimeError):  # the host program has registered one: it serves
        ort.create_and_register_allocator(memory, ort.OrtArenaCfg(0, 0, -1, -1))


def _check_interface(graph: GraphSpec, session: Any) -> None:
    for said, found in (
        (graph.inputs, session.get_inputs()),
        (graph.outputs, session.get_outputs()),
    ):
        in_graph = {
            f"{node.name} {_DTYPES.get(node.type, node.type)} {list(node.shape)}" for node in found
        }
        in_manifest = {str(spec) for spec in said}
        if in_graph != in_manifest:
            odd = sorted(in_graph ^ in_manifest)
            raise BundleMismatch(
                f"{graph.file} and manifest.json disagree on {len(odd)} tensor(s): "
                f"{'; '.join(odd[:4])}. Export the bundle again."
            )
