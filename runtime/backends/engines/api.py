"""The part of TensorRT's Python interface that we use, as types: TensorRT ships none.

Each class has the name that TensorRT gives it, and only names that TensorRT 10.3 to 11.4 and
TensorRT-RTX 1.7 all have; what only some have is asked for with `hasattr`.
`tests/runtime/backends/engines/test_tensorrt_names.py` holds this file and its users to that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

__all__ = [
    "Builder",
    "EngineInspector",
    "Enumerator",
    "IBuilderConfig",
    "IConvolutionLayer",
    "ICudaEngine",
    "IExecutionContext",
    "IHostMemory",
    "ILayer",
    "IMatrixMultiplyLayer",
    "INetworkDefinition",
    "ITensor",
    "ITimingCache",
    "OnnxParser",
    "ParserError",
    "Runtime",
    "TensorRT",
]


class Enumerator(Protocol):
    """A member of one of TensorRT's enumerations."""

    @property
    def name(self) -> str: ...
    def __int__(self) -> int: ...


class ITensor(Protocol):
    name: str
    dtype: Enumerator
    shape: Sequence[int]


class ILayer(Protocol):
    name: str
    type: Enumerator
    num_inputs: int
    num_outputs: int

    def get_input(self, index: int) -> ITensor | None: ...
    def get_output(self, index: int) -> ITensor | None: ...
    def set_input(self, index: int, tensor: ITensor) -> None: ...


class IConvolutionLayer(ILayer, Protocol):
    kernel: Any
    bias: Any
    kernel_size_nd: Sequence[int]
    num_groups: int
    num_output_maps: int


class IMatrixMultiplyLayer(ILayer, Protocol):
    op0: Enumerator


class INetworkDefinition(Protocol):
    num_layers: int
    num_outputs: int

    def get_layer(self, index: int) -> ILayer: ...
    def get_output(self, index: int) -> ITensor: ...
    def add_cast(self, input: ITensor, to_type: Enumerator) -> ILayer: ...
    def mark_output(self, tensor: ITensor) -> None: ...


class ParserError(Protocol):
    def desc(self) -> str: ...
    def node_name(self) -> str: ...
    def node_operator(self) -> str: ...


class OnnxParser(Protocol):
    num_errors: int

    def parse_from_file(self, path: str) -> bool: ...
    def get_error(self, index: int) -> ParserError: ...


class IHostMemory(Protocol):
    """A buffer: `memoryview` and `bytes` take it."""

    nbytes: int

    def __buffer__(self, flags: int, /) -> memoryview: ...


class ITimingCache(Protocol):
    def serialize(self) -> IHostMemory: ...


class IBuilderConfig(Protocol):
    builder_optimization_level: int
    profiling_verbosity: Enumerator
    progress_monitor: object

    def set_memory_pool_limit(self, pool: Enumerator, size: int) -> None: ...
    def set_flag(self, flag: Enumerator) -> None: ...
    def clear_flag(self, flag: Enumerator) -> None: ...
    def create_timing_cache(self, blob: bytes) -> ITimingCache: ...
    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool: ...
    def get_timing_cache(self) -> ITimingCache | None: ...


class Builder(Protocol):
    def create_network(self, flags: int) -> INetworkDefinition: ...
    def create_builder_config(self) -> IBuilderConfig: ...
    def build_serialized_network(
        self, network: INetworkDefinition, config: IBuilderConfig
    ) -> IHostMemory | None: ...


class EngineInspector(Protocol):
    def get_engine_information(self, format: Enumerator) -> str: ...


class IExecutionContext(Protocol):
    def set_tensor_address(self, name: str, memory: int) -> bool: ...
    def set_device_memory(self, memory: int, size: int) -> None: ...
    def execute_async_v3(self, stream_handle: int) -> bool: ...


class ICudaEngine(Protocol):
    num_io_tensors: int
    device_memory_size_v2: int

    def create_engine_inspector(self) -> EngineInspector: ...
    def create_execution_context(self, strategy: Enumerator) -> IExecutionContext | None: ...
    def get_tensor_name(self, index: int) -> str: ...
    def get_tensor_mode(self, name: str) -> Enumerator: ...
    def get_tensor_dtype(self, name: str) -> Enumerator: ...
    def get_tensor_shape(self, name: str) -> Sequence[int]: ...


class Runtime(Protocol):
    def deserialize_cuda_engine(
        self, serialized_engine: IHostMemory | bytes
    ) -> ICudaEngine | None: ...


class _CreationFlags(Protocol):
    STRONGLY_TYPED: Enumerator


class _DataTypes(Protocol):
    FLOAT: Enumerator
    HALF: Enumerator


class _BuilderFlags(Protocol):
    TF32: Enumerator


class _MemoryPools(Protocol):
    WORKSPACE: Enumerator


class _Verbosities(Protocol):
    DETAILED: Enumerator


class _InformationFormats(Protocol):
    JSON: Enumerator


class _AllocationStrategies(Protocol):
    USER_MANAGED: Enumerator


# Inside TensorRT, the class below, these names mean its attributes.
_Builder = Builder
_OnnxParser = OnnxParser
_Runtime = Runtime


class TensorRT(Protocol):
    """The module `tensorrt` or `tensorrt_rtx`."""

    __version__: str
    DataType: _DataTypes
    NetworkDefinitionCreationFlag: _CreationFlags
    BuilderFlag: _BuilderFlags
    MemoryPoolType: _MemoryPools
    ProfilingVerbosity: _Verbosities
    LayerInformationFormat: _InformationFormats
    ExecutionContextAllocationStrategy: _AllocationStrategies
    # Classes to inherit from or to cast a layer to: no type can be written for that.
    ILogger: Any
    IProgressMonitor: Any
    IConvolutionLayer: Any
    IDeconvolutionLayer: Any
    IMatrixMultiplyLayer: Any

    def Builder(self, logger: object) -> _Builder: ...
    def OnnxParser(self, network: INetworkDefinition, logger: object) -> _OnnxParser: ...
    def Runtime(self, logger: object) -> _Runtime: ...
    def Weights(self, values: object) -> object: ...
