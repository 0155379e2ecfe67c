"""What a GPU copies and multiplies at most, by PyTorch: what times in a benchmark are held to."""

from __future__ import annotations

import torch

from vidtok_edge.errors import BackendUnavailable
from vidtok_edge.lowering.torch_cuda import event_times_ms, require_torch_cuda
from vidtok_edge.runtime.bench.ceilings import Ceilings

__all__ = ["gpu_ceilings"]

CALLS = 10


def gpu_ceilings(megabytes: int = 1024, side: int = 8192) -> Ceilings:
    """What the first GPU copies and multiplies at most: a copy, read and written bytes together,
    and a product of square matrices, the best of several.

    Raises:
        BackendUnavailable: PyTorch sees no GPU, or cannot run there; one may lack the memory.
    """
    require_torch_cuda()
    try:
        return _measured(megabytes, side)
    except RuntimeError as error:  # all that PyTorch raises of CUDA
        why = str(error).strip().partition("\n")[0].rstrip(".")
        raise BackendUnavailable(
            f"PyTorch {torch.__version__} does not run on this GPU: {why}. Free its memory, or "
            "install a PyTorch for it."
        ) from error


def _measured(megabytes: int, side: int) -> Ceilings:
    torch.backends.cuda.matmul.allow_tf32 = False
    source = torch.ones(megabytes * 250_000, device="cuda")
    target = torch.empty_like(source)
    copy_s = min(event_times_ms(lambda: target.copy_(source), CALLS)) / 1e3
    found = {}
    for dtype in (torch.float32, torch.float16):
        # Of noise: a product of equal numbers takes less power, and so less time.
        square = torch.randn((side, side), device="cuda", dtype=dtype)
        found[dtype] = min(event_times_ms(lambda m=square: m @ m, CALLS, warmup=3)) / 1e3  # type: ignore[misc]
    return Ceilings(
        device=torch.cuda.get_device_name(0),
        copy_gbs=2 * source.nbytes / copy_s / 1e9,
        fp32_tflops=2 * side**3 / found[torch.float32] / 1e12,
        fp16_tflops=2 * side**3 / found[torch.float16] / 1e12,
    )
