"""PyTorch in TensorRT's place: `EngineStep` runs a lowered step as if it were an engine.

What is ours around TensorRT (memory, copies, streams, events, CUDA graphs) so runs on real
hardware without TensorRT, or on the GPU made of host memory of the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from vidtok_edge.errors import BackendUnavailable
from vidtok_edge.runtime.backends.backend import Target
from vidtok_edge.runtime.backends.engines.api import TensorRT
from vidtok_edge.runtime.backends.engines.cuda import Cuda, load_cuda
from vidtok_edge.runtime.backends.engines.sidecar import EngineHost
from vidtok_edge.runtime.backends.engines.step import EngineStep
from vidtok_edge.runtime.backends.gpu import present_gpu
from vidtok_edge.runtime.manifest.graphs import GraphSpec, TensorSpec

_TYPES = {
    "float32": "FLOAT",
    "float16": "HALF",
    "uint8": "UINT8",
    "int8": "INT8",
    "int32": "INT32",
    "bool": "BOOL",
}
_CODES = {
    "float32": "<f4",
    "float16": "<f2",
    "uint8": "|u1",
    "int8": "|i1",
    "int32": "<i4",
    "bool": "|b1",
}
_VERSION = f"0 (PyTorch {torch.__version__})"
_SCRATCH_BYTES = 1 << 20
"""PyTorch has memory of its own; so much is bound all the same, as an engine's would be."""


class Device(Protocol):
    """Where a step runs: the calls of CUDA, and PyTorch's view of its memory and streams."""

    cuda: Cuda
    here: EngineHost

    def placed(self, module: nn.Module) -> nn.Module:
        """`module` with its weights where it will run."""

    def tensor(self, address: int, spec: TensorSpec) -> Callable[[], Tensor]:
        """What gives the tensor that lies at `address` of the device's memory."""

    def put(self, stream: int, work: Callable[[], None]) -> None:
        """Put `work` into the stream with this handle."""

    def settle(self) -> None:
        """After a step was closed: complain of what it left behind, where that is known."""


class RealDevice:
    """The first GPU that CUDA shows.

    Raises:
        BackendUnavailable, MissingDependency: no GPU, no driver or no cuda-bindings.
    """

    def __init__(self) -> None:
        gpu = present_gpu()
        if gpu is None:
            raise BackendUnavailable(
                "No NVIDIA GPU was found here. Use --fake to rehearse on one made of host memory."
            )
        self.cuda = load_cuda(Target.TENSORRT)
        self.here = EngineHost(
            target=Target.TENSORRT,
            version=_VERSION,
            gpu=gpu.architecture,
            gpu_name=gpu.name,
            platform="",
        )

    def placed(self, module: nn.Module) -> nn.Module:
        return module.cuda()

    def tensor(self, address: int, spec: TensorSpec) -> Callable[[], Tensor]:
        described = {
            "shape": spec.shape,
            "typestr": _CODES[spec.dtype],
            "version": 3,
            "data": (address, False),
            "strides": None,
        }
        holder = SimpleNamespace(__cuda_array_interface__=described)
        found = torch.as_tensor(cast(Any, holder), device="cuda")
        return lambda: found

    def put(self, stream: int, work: Callable[[], None]) -> None:
        # Untyped in PyTorch.
        with torch.cuda.stream(cast(Any, torch.cuda.ExternalStream)(stream)):
            work()

    def settle(self) -> None:
        torch.cuda.synchronize()


class FakeDevice:
    """A GPU made of host memory: `api` is a `FakeApi` of the tests."""

    def __init__(self, api: Any) -> None:
        self._api = api
        self.cuda = Cuda(api)
        self.here = EngineHost(
            target=Target.TENSORRT, version=_VERSION, gpu="sm90", gpu_name="fake GPU", platform=""
        )

    def placed(self, module: nn.Module) -> nn.Module:
        return module

    def tensor(self, address: int, spec: TensorSpec) -> Callable[[], Tensor]:
        def found() -> Tensor:  # looked up in each call: it may have been freed
            memory = self._api.memory.device(address, spec.nbytes, spec.name)
            return torch.from_numpy(memory.view(spec.dtype).reshape(spec.shape))

        found()
        return found

    def put(self, stream: int, work: Callable[[], None]) -> None:
        self._api.stream_of(stream).put(work)

    def settle(self) -> None:
        self._api.assert_clean()


def torch_engine(module: nn.Module, graph: GraphSpec, device: Device) -> EngineStep:
    """`module`, the lowered step of `graph`, as an engine on `device`; outputs can be compared."""
    library = cast(TensorRT, _Library(device.placed(module), graph, device))
    return EngineStep(graph, b"", library, device.cuda, device.here, to_compare=True)


@contextmanager
def constants_once() -> Iterator[None]:
    """Make each constant tensor once.

    Steps make small ones in every call, by a copy from pageable memory, which waits and which no
    CUDA graph can hold. ONNX and TensorRT have them as weights.
    """
    make, kept = torch.tensor, dict[tuple[str, str], Tensor]()

    def tensor(data: Any, **options: Any) -> Tensor:
        key = (repr(data), repr(sorted(options.items())))
        if key not in kept:
            kept[key] = make(data, **options)
        return kept[key]

    torch.tensor = cast(Any, tensor)
    try:
        yield
    finally:
        torch.tensor = make


class _Library:
    """The module `tensorrt` as `EngineStep` uses it; its one engine is a module and its graph."""

    __version__ = _VERSION
    ExecutionContextAllocationStrategy = SimpleNamespace(USER_MANAGED="ours")

    class ILogger:
        def __init__(self) -> None:
            pass

    def __init__(self, module: nn.Module, graph: GraphSpec, device: Device) -> None:
        self.module, self.graph, self.device = module, graph, device

    def Runtime(self, logger: object) -> Any:
        return SimpleNamespace(deserialize_cuda_engine=lambda content: _Engine(self))


class _Engine:
    device_memory_size_v2 = _SCRATCH_BYTES

    def __init__(self, library: _Library) -> None:
        graph = library.graph
        self.library = library
        self.specs = {spec.name: spec for spec in (*graph.inputs, *graph.outputs)}
        self.num_io_tensors = len(self.specs)

    def get_tensor_name(self, index: int) -> str:
        return list(self.specs)[index]

    def get_tensor_mode(self, name: str) -> Any:
        given = any(spec.name == name for spec in self.library.graph.inputs)
        return SimpleNamespace(name="INPUT" if given else "OUTPUT")

    def get_tensor_dtype(self, name: str) -> Any:
        return SimpleNamespace(name=_TYPES[self.specs[name].dtype])

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.specs[name].shape

    def create_execution_context(self, strategy: object) -> _Context:
        return _Context(self)


class _Context:
    def __init__(self, engine: _Engine) -> None:
        self._library, self._specs = engine.library, engine.specs
        self._tensors: dict[str, Callable[[], Tensor]] = {}

    def set_device_memory(self, address: int, size: int) -> None:
        pass

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._tensors[name] = self._library.device.tensor(address, self._specs[name])
        return True

    def execute_async_v3(self, handle: int) -> bool:
        self._library.device.put(handle, self._compute)
        return True

    @torch.inference_mode()
    def _compute(self) -> None:
        graph = self._library.graph
        results = self._library.module(*[self._tensors[spec.name]() for spec in graph.inputs])
        for spec, value in zip(graph.outputs, results, strict=True):
            self._tensors[spec.name]().copy_(value)
