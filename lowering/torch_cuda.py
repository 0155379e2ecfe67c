"""PyTorch on a GPU: whether there is one, arithmetic that is exact float32, times of runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch

from vidtok_edge.errors import BackendUnavailable

__all__ = ["event_times_ms", "exact_float32", "require_torch_cuda"]


def require_torch_cuda() -> None:
    """Raises:
    BackendUnavailable: this PyTorch is one for the CPU, or sees no GPU.
    """
    if torch.version.cuda is None:
        raise BackendUnavailable(
            f"PyTorch {torch.__version__} is one for the CPU. Install one for the CUDA of this "
            "machine (pytorch.org)."
        )
    if not torch.cuda.is_available():
        raise BackendUnavailable(
            f"PyTorch {torch.__version__} sees no GPU. Look at the driver (nvidia-smi) and at "
            "CUDA_VISIBLE_DEVICES."
        )


def exact_float32() -> None:
    """No TF32, in all of this process; cuDNN may try its algorithms, which all are float32 then."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True


def event_times_ms(run: Callable[[], object], calls: int, warmup: int = 10) -> list[float]:
    """Milliseconds of each of `calls` runs on the current stream, after `warmup` that are not
    counted."""
    event, times = cast(Any, torch.cuda.Event), list[float]()  # untyped in PyTorch
    for call in range(warmup + calls):
        first, last = (event(enable_timing=True) for _ in range(2))
        first.record()
        run()
        last.record()
        torch.cuda.synchronize()
        if call >= warmup:
            times.append(first.elapsed_time(last))
    return times
