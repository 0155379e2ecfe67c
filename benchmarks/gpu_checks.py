"""The engine backend on a real GPU, with PyTorch in TensorRT's place, and what a step takes there.

    python benchmarks/gpu_checks.py result.json
    python benchmarks/gpu_checks.py result.json --full --calls 100
    python benchmarks/gpu_checks.py result.json --fake --size 32 --calls 2    # without a GPU

Everything of ours around TensorRT runs: real memory, copies, streams, events and CUDA graphs. The
engine is the lowered step in PyTorch, so the times also say what each form costs under a CUDA
graph, beside the original modules in PyTorch, eager and compiled. Exits 1 where a check failed.
"""

from __future__ import annotations

import copy
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray
from torch_engine import Device, FakeDevice, RealDevice, constants_once, torch_engine

from vidtok_edge.errors import VidTokEdgeError
from vidtok_edge.lowering.facts import graph_spec
from vidtok_edge.lowering.forms import FormName
from vidtok_edge.lowering.interface import KINDS, Kind, interface_of
from vidtok_edge.lowering.numerics import FP16, FP32, Numerics
from vidtok_edge.lowering.step import StepOptions, lower
from vidtok_edge.lowering.torch_cuda import event_times_ms, exact_float32, require_torch_cuda
from vidtok_edge.lowering.torch_step import TorchStep
from vidtok_edge.runtime.backends.engines.step import EngineStep
from vidtok_edge.vidtok_ref import VidTok, load_weights

FULL = "vidtok_fsq_causal_488_32768_v1_1"
FORMS: tuple[FormName, ...] = ("conv2d", "conv3d")
MODES = ("reduce-overhead", "default", "max-autotune")
"""Of torch.compile; each makes the calls of a module anew."""
PARITY_CALLS = 3
Result = dict[str, Any]
Arrays = Mapping[str, NDArray[Any]]
"""By the names of inputs, outputs or caches."""


@dataclass(frozen=True, slots=True)
class Amount:
    """How much is measured: frames of `size` x `size`, `calls` timed after `warmup` not timed."""

    size: int
    calls: int
    warmup: int = 10


@dataclass(frozen=True, slots=True)
class Stream:
    """Calls of a step, in float32."""

    given: Sequence[Arrays]
    wanted: Sequence[Arrays]
    caches: Arrays
    """After the last call."""


@dataclass(frozen=True, slots=True)
class Parity:
    """A stream through the engine against the same stream in float32 on the CPU."""

    equal_tokens: float | None
    """The least share in any call; None for a decoder."""
    max_difference: float
    """Of outputs that are no tokens, over all calls."""
    max_cache_difference: float
    """After the last call."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Medians in milliseconds; the last three between CUDA events."""

    call_ms: float
    call_ms_min_max: tuple[float, float]
    upload_ms: float
    compute_ms: float
    download_ms: float


@dataclass(frozen=True, slots=True)
class Check:
    """One measurement: what it is of, and what makes it."""

    facts: dict[str, str]
    work: Callable[[], Result]


@click.command(help=__doc__)
@click.argument("out", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--full", is_flag=True, help="The full-width model, random weights.")
@click.option("--size", default=256, show_default=True, help="Height and width of frames.")
@click.option(
    "--calls", default=200, type=click.IntRange(1), show_default=True, help="Timed, of each engine."
)
@click.option("--seconds", default=200.0, show_default=True, help="Begin nothing after so long.")
@click.option("--fake", is_flag=True, help="On the GPU made of host memory of the tests.")
def main(out: Path, full: bool, size: int, calls: int, seconds: float, fake: bool) -> None:
    end = time.monotonic() + seconds
    try:
        device = fake_device() if fake else real_device()
    except VidTokEdgeError as error:
        raise click.ClickException(str(error)) from None
    name, weights = (FULL, "random") if full else ("fsq", None)
    model, _ = load_weights(name, weights)
    wanted = engine_checks(model, Amount(size, calls, min(calls, 10)), device)
    if not fake:
        wanted += original_checks(model, size)
    results: list[Result] = []
    for result in run_checks(wanted, end):
        click.echo(json.dumps(result))
        results.append(result)
        document = {"model": name, "size": size, "device": str(device.here)}
        document |= {"torch": torch.__version__, "results": results}
        out.write_text(json.dumps(document, indent=1) + "\n")  # each time: it may be cut off
    sys.exit(1 if any("failed" in result for result in results) else 0)


def real_device() -> RealDevice:
    """The GPU, with PyTorch set to exact float32.

    Raises:
        BackendUnavailable, MissingDependency: PyTorch or CUDA cannot be used here.
    """
    device = RealDevice()
    require_torch_cuda()
    exact_float32()
    return device


def fake_device() -> FakeDevice:
    """The fake GPU of the tests, which a checkout has beside this folder."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
    from fake_gpu import FakeApi

    return FakeDevice(FakeApi())


def run_checks(checks: Sequence[Check], end: float) -> Iterator[Result]:
    """What each gave, its facts first; none begins after `end`, in seconds of `time.monotonic`."""
    for check in checks:
        if time.monotonic() > end:
            yield {**check.facts, "left_out": "no time"}
            continue
        try:
            yield {**check.facts, **check.work()}
        except Exception as error:  # the next measurement is still worth having
            yield {**check.facts, "failed": f"{type(error).__name__}: {str(error)[:300]}"}


# --- engines ----------------------------------------------------------------------------------


def engine_checks(model: VidTok, amount: Amount, device: Device) -> list[Check]:
    """Both graphs in both precisions and forms."""

    @cache
    def stream(kind: Kind, form: FormName) -> Stream:
        return plain_stream(model, kind, StepOptions(amount.size, amount.size, form=form))

    checks = []
    for kind, numerics, form in product(KINDS, (FP32, FP16), FORMS):
        facts = {
            "what": "EngineStep, PyTorch inside",
            "kind": kind,
            "form": form,
            "precision": numerics.precision,
        }
        work = partial(engine_facts, model, kind, form, numerics, amount, device, stream)
        checks.append(Check(facts, work))
    return checks


def engine_facts(
    model: VidTok,
    kind: Kind,
    form: FormName,
    numerics: Numerics,
    amount: Amount,
    device: Device,
    stream: Callable[[Kind, FormName], Stream],
) -> Result:
    """Opens one engine, holds it to the stream of its kind and form, times it and closes it."""
    options = StepOptions(amount.size, amount.size, form=form)
    interface = interface_of(model.variant, options, kind, numerics)
    graph = graph_spec(kind, options, numerics, interface)
    module = lower(model, options, kind, numerics).eval()
    with constants_once(), torch_engine(module, graph, device) as step:
        found = {
            "cuda_graph": step.captured,
            "fell_back": step.info.fell_back,
            "device_mb": round(step.device_bytes / 1e6),
        }
        parity = compared(step, stream(kind, form))
        timing = timed(step, amount)
    device.settle()
    fault = fault_of(parity, kind, numerics.precision)
    failed = {"failed": fault} if fault else {}
    return {**found, **asdict(parity), **asdict(timing), **failed}


def plain_stream(
    model: VidTok, kind: Kind, options: StepOptions, calls: int = PARITY_CALLS
) -> Stream:
    """A stream of noise through the same step in float32 on the CPU: seconds a call, full width."""
    graph = graph_spec(kind, options, FP32, interface_of(model.variant, options, kind, FP32))
    step = TorchStep(lower(model, options, kind, FP32).eval(), graph)
    random, given, wanted = np.random.default_rng(0), list[Arrays](), list[Arrays]()
    for call in range(calls):
        fill(step, random, model.variant.codebook_size, start=call == 0)
        step.run()
        given.append({name: array.copy() for name, array in step.inputs.items()})
        wanted.append({name: array.copy() for name, array in step.outputs.items()})
    return Stream(given, wanted, step.caches())


def compared(step: EngineStep, stream: Stream) -> Parity:
    """The same stream through a step, which must be new."""
    equal, worst = list[float](), 0.0
    for given, wanted in zip(stream.given, stream.wanted, strict=True):
        for name, array in step.inputs.items():
            array[...] = given[name]
        step.run()
        for name, value in wanted.items():
            if name == "tokens":
                equal.append(float((step.outputs[name] == value).mean()))
            else:
                worst = max(worst, difference(step.outputs[name], value))
    mine = step.caches()
    caches = [difference(mine[name], value) for name, value in stream.caches.items()]
    return Parity(min(equal, default=None), worst, max(caches, default=0.0))


def fill(step: TorchStep, random: np.random.Generator, codebook: int, start: bool) -> None:
    """Noise for a call: whole levels of pixels, or tokens; every slot takes part, none ends."""
    for name, array in step.inputs.items():
        if array.dtype == np.bool_:
            array[...] = {"start": start, "ready": True}.get(name, False)
        else:
            array[...] = random.integers(0, codebook if name == "tokens" else 256, array.shape)


def difference(got: Any, wanted: Any) -> float:
    """The largest; infinity where one of them alone is no number."""
    got, wanted = got.astype(np.float64), wanted.astype(np.float64)
    apart = np.where(np.isnan(got) & np.isnan(wanted), 0.0, np.abs(got - wanted))
    return float(np.where(np.isnan(apart), np.inf, apart).max())


def fault_of(parity: Parity, kind: Kind, precision: str) -> str:
    """Why it is no rounding that sets a step apart from float32; empty where it may be."""
    least = 0.99 if precision == "fp32" else 0.5
    if parity.equal_tokens is not None and parity.equal_tokens < least:
        return (
            f"{parity.equal_tokens:.1%} of the tokens are float32's, at least {least:.0%} must be"
        )
    most = math.inf if precision == "fp16" else 0.1 if kind == "encoder" else 2
    worst = max(parity.max_difference, parity.max_cache_difference)
    if not math.isfinite(worst) or parity.max_difference > most:
        return f"outputs are up to {parity.max_difference:g} apart, caches {worst:g}"
    return ""


def timed(step: EngineStep, amount: Amount) -> Timing:
    wall, parts = [], []
    for call in range(amount.warmup + amount.calls):
        begin = time.perf_counter()
        step.run()
        if call >= amount.warmup:
            wall.append((time.perf_counter() - begin) * 1e3)
            parts.append((step.times.upload_ns, step.times.compute_ns, step.times.download_ns))
    upload, compute, download = (
        round(statistics.median(column) / 1e6, 3) for column in zip(*parts, strict=True)
    )
    spread = (round(min(wall), 3), round(max(wall), 3))
    return Timing(round(statistics.median(wall), 3), spread, upload, compute, download)


# --- the original -----------------------------------------------------------------------------


def original_checks(model: VidTok, size: int) -> list[Check]:
    """The original modules in PyTorch: eager and compiled, fp16 and fp32; what takes longest to
    compile comes last."""
    checks = []
    for mode, half, kind in product((None, *MODES), (True, False), KINDS):
        what = "original, eager" if mode is None else f"original, torch.compile {mode}"
        facts = {"what": what, "kind": kind, "precision": "fp16" if half else "fp32"}
        checks.append(Check(facts, partial(original_facts, model, kind, size, half, mode)))
    return checks


def original_facts(model: VidTok, kind: Kind, size: int, half: bool, mode: str | None) -> Result:
    """One chunk with a zero past, between CUDA events: median of 30. `mode`: of torch.compile."""
    dtype = torch.float16 if half else torch.float32
    module = copy.deepcopy(model.encoder if kind == "encoder" else model.decoder)
    module = module.to("cuda", dtype).eval()
    given = torch.randn(chunk_shape(model, kind, size), device="cuda", dtype=dtype)
    run = module if mode is None else torch.compile(module, mode=mode)
    with torch.inference_mode():
        times = event_times_ms(lambda: run(given), calls=30)
    return {"call_ms": round(statistics.median(times), 3)}


def chunk_shape(model: VidTok, kind: Kind, size: int) -> tuple[int, ...]:
    """[1, C, T, H, W] of one latent's frames, or [1, c, 1, h, w]."""
    variant = model.variant
    if kind == "encoder":
        return (1, 3, variant.time_factor, size, size)
    side = size // variant.space_factor
    return (1, len(variant.levels) if variant.levels else variant.z_channels, 1, side, side)


if __name__ == "__main__":
    main()
