"""What this device can copy and multiply at most: the ceilings that times are held to.

    python benchmarks/ceilings.py result.json          # of the GPU, through PyTorch
    python benchmarks/ceilings.py result.json --cpu    # of the CPU, through NumPy

A copy of a large array, read and written bytes together, and a product of square matrices: the
best of several. FP32 without TF32.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np

from vidtok_edge.errors import VidTokEdgeError

__all__ = ["Ceilings", "cpu_ceilings", "least_ms"]

CALLS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceilings:
    """Rates that were reached on one device; a multiply-add is two operations."""

    device: str
    copy_gbs: float
    """10^9 bytes per second, read and written."""
    fp32_tflops: float
    fp16_tflops: float | None
    """None where it was not measured: no CPU's is worth it."""

    def tflops(self, precision: str) -> float | None:
        """Of `fp32` or `fp16`; None for what was not measured, as INT8."""
        return {"fp32": self.fp32_tflops, "fp16": self.fp16_tflops}.get(precision)


def least_ms(ceilings: Ceilings, *, multiply_adds: int, moved: int, precision: str) -> float | None:
    """The time of a call that reaches both ceilings; None where one was not measured.

    Args:
        multiply_adds: of a call.
        moved: bytes of a call.
        precision: of the multiply-adds.
    """
    tflops = ceilings.tflops(precision)
    if tflops is None:
        return None
    return 1e3 * max(2 * multiply_adds / (tflops * 1e12), moved / (ceilings.copy_gbs * 1e9))


def cpu_ceilings(megabytes: int = 256, side: int = 2048) -> Ceilings:
    """Of the CPU, by NumPy."""
    source = np.ones(megabytes * 250_000, np.float32)
    target, square = np.empty_like(source), np.ones((side, side), np.float32)

    def copy() -> None:
        target[...] = source

    return Ceilings(
        device="CPU",
        copy_gbs=2 * source.nbytes / _best_s(copy) / 1e9,
        fp32_tflops=2 * side**3 / _best_s(lambda: square @ square) / 1e12,
        fp16_tflops=None,
    )


def gpu_ceilings(megabytes: int = 1024, side: int = 8192) -> Ceilings:
    """Of the GPU, by PyTorch. Raises BackendUnavailable: it sees none."""
    import torch
    from cuda_events import event_times_ms

    from vidtok_edge.lowering.torch_cuda import require_torch_cuda

    require_torch_cuda()
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


def _best_s(run: Callable[[], object]) -> float:
    times = []
    for _ in range(CALLS):
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return min(times)


@click.command(help=__doc__)
@click.argument("out", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--cpu", is_flag=True, help="Of the CPU, by NumPy.")
def main(out: Path, cpu: bool) -> None:
    try:
        found = cpu_ceilings() if cpu else gpu_ceilings()
    except VidTokEdgeError as error:
        raise click.ClickException(str(error)) from None
    click.echo(found)
    out.write_text(json.dumps({"ceilings": asdict(found)}) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
