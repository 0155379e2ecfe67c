"""What can run a step graph, by name."""

from __future__ import annotations

from vidtok_edge.errors import UsageError
from vidtok_edge.runtime.manifest.graphs import Placement
from vidtok_edge.runtime.manifest.names import Name

__all__ = ["Backend", "Target"]


class Target(Name):
    """The TensorRT that builds and runs an engine."""

    TENSORRT = "tensorrt"
    TENSORRT_RTX = "tensorrt-rtx"

    @classmethod
    def named(cls, name: str) -> Target:
        """The target of that name. UsageError: there is none."""
        try:
            return cls(name)
        except ValueError:
            raise UsageError(f"There is no target {name!r}; use {' or '.join(cls)}.") from None

    @property
    def product(self) -> str:
        """As NVIDIA calls it."""
        return "TensorRT-RTX" if self is Target.TENSORRT_RTX else "TensorRT"

    @property
    def module(self) -> str:
        """The Python module that is it."""
        return self.value.replace("-", "_")

    @property
    def oldest(self) -> tuple[int, int]:
        """The oldest version that is supported."""
        return (1, 7) if self is Target.TENSORRT_RTX else (10, 3)

    @property
    def any_gpu_model(self) -> bool:
        """Whether an engine runs on every GPU of its architecture, on any system.

        A classic engine is tuned for one GPU model and holds host code.
        """
        return self is Target.TENSORRT_RTX


class Backend(Name):
    """What is asked for. The same names in Python and on the command line.

    `AUTO` is the fastest that is there: an engine that fits, else `ONNXRUNTIME`, which is CUDA
    where ONNX Runtime has it, else the CPU. `ONNXRUNTIME_RTX`, ONNX Runtime with TensorRT-RTX as
    its provider, and `OPENVINO`, on the CPU, are taken only where they are asked for.
    """

    AUTO = "auto"
    ONNXRUNTIME = "onnxruntime"
    CPU = "cpu"
    CUDA = "cuda"
    TENSORRT = "tensorrt"
    TENSORRT_RTX = "tensorrt-rtx"
    ONNXRUNTIME_RTX = "onnxruntime-tensorrt-rtx"
    OPENVINO = "openvino"

    @classmethod
    def named(cls, name: str) -> Backend:
        """The backend of that name. UsageError: there is none."""
        try:
            return cls(name)
        except ValueError:
            raise UsageError(f"There is no backend {name!r}; use {', '.join(cls)}.") from None

    @property
    def target(self) -> Target | None:
        """The TensorRT whose engines it runs; None: it runs ONNX files, or chooses."""
        return Target(self.value) if self.value in set(Target) else None

    @property
    def on_cpu(self) -> bool:
        """Whether it runs on the CPU wherever it runs."""
        return self in (Backend.CPU, Backend.OPENVINO)

    @property
    def placement(self) -> Placement:
        """For which backends the INT8 graphs that it runs are placed."""
        by_tensorrt = self.target is not None or self is Backend.ONNXRUNTIME_RTX
        return Placement.TENSORRT if by_tensorrt else Placement.ONNXRUNTIME
