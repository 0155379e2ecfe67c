"""What FP16 and INT8 buy and cost: step time, cache memory, quality, and memory of calibrating.

    python benchmarks/precision.py --only embedded-256 --runs 7

README.md says how to read it.
"""

from __future__ import annotations

import json
import math
import shutil
import sys
import tempfile
from pathlib import Path

import click
from cases import CASES, Case, write_bundle
from processes import in_fresh_process
from report import Report, begin
from rounds import compared, cpu_per_frame, measured, saturated, spread_of, step_ms
from targets import Target, at_least, at_most, ratio_row

from vidtok_edge.calib.calibration import CalibrationRequest, calibrate
from vidtok_edge.calib.int8 import int8_graphs
from vidtok_edge.calib.policy import DEFAULT_POLICY, Policy
from vidtok_edge.export.verifying.loss import DEFAULT_LIMITS, Loss
from vidtok_edge.export.verifying.verification import verify_bundle
from vidtok_edge.lowering.facts import BOTH_FP16, BOTH_FP32
from vidtok_edge.lowering.interface import KINDS
from vidtok_edge.lowering.step import StepOptions
from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.backends.backend import Backend
from vidtok_edge.runtime.bench.measuring.candidate import Candidate
from vidtok_edge.runtime.bench.measuring.matrix import Entry
from vidtok_edge.runtime.bench.measuring.ratios import rounds_needed
from vidtok_edge.runtime.bench.meters.sampling import peak_rss_mb
from vidtok_edge.vidtok_ref import embedded_file, load_weights

SPEED = ("embedded-256", "full-128")
PARTS = (*SPEED, "quality", "memory")
SPEEDUP, CACHE, TOKENS, LOSS_DB = 2.0, 0.33, 0.99, 0.5
PEAK_MB = {"fp32": 400, "int8": 250}
"""Of a process that encodes and decodes with the embedded model at 256x256."""
MEMORY_GROWTH = 1.05
CLIPS = (1, 6)
HOW = "`python benchmarks/precision.py`, paired, each turn a process, median (min..max)"


@click.command(help=__doc__)
@click.option("--only", metavar="PARTS", help=f"Of {', '.join(PARTS)}; comma-separated.")
@click.option("--runs", default=rounds_needed(2), show_default=True, help="Paired rounds.")
@click.option("--json", "json_path", type=click.Path(path_type=Path))
@click.option("--strict", is_flag=True, help="Exit 1 where a target is missed.")
def main(only: str | None, runs: int, json_path: Path | None, strict: bool) -> None:
    parts = only.split(",") if only else PARTS
    if unknown := set(parts) - set(PARTS):
        raise click.BadParameter(f"{', '.join(sorted(unknown))}; allowed: {', '.join(PARTS)}")
    report, targets = begin("precision", f"{HOW}; {runs} rounds"), list[Target]()
    for name in SPEED:
        if name in parts:
            targets += run_speed(report, name, CASES[name], runs)
    if "quality" in parts:
        targets += run_quality(report)
    if "memory" in parts:
        targets.append(memory_target())
    report.judge("precision-targets", targets)
    report.show()
    report.write(json_path)
    if strict and not report.reached:
        raise SystemExit(1)


# --- speed ------------------------------------------------------------------------------------


def run_speed(report: Report, name: str, case: Case, runs: int) -> list[Target]:
    """Both graphs of a case; INT8 by the default recipe, from a few latents of the shipped clip."""
    rows, targets = report.tables.setdefault("precision-speed", []), list[Target]()
    with tempfile.TemporaryDirectory(prefix="precision_") as scratch:
        bundle = write_precisions(case, Path(scratch) / name, frames=9)
        candidates = [Candidate(str(bundle.path), "cpu", p) for p in ("fp32", "int8")]
        settings = saturated(case.seconds * runs, runs)
        fp32, int8 = measured(candidates, settings, name).entries
    for kind in KINDS:
        value_of, what = step_ms(kind), f"{kind}, {case.title}"
        ratio = compared(int8, fp32, value_of, 2, kind)
        graphs = [bundle.manifest.graph(kind, p) for p in ("fp32", "int8")]
        caches = graphs[1].cache_bytes / graphs[0].cache_bytes
        rows.append(
            {
                "graph": what,
                "fp32_ms": spread_of(fp32.turns, value_of).median,
                "int8_ms": spread_of(int8.turns, value_of).median,
                "int8_over_fp32": ratio_row(ratio),
                "cache_ratio": caches,
                "int8_work": graphs[1].work_int8_permille / 1000,
            }
        )
        targets.append(at_least(f"int8 at least {SPEEDUP:g}x fp32, {what}", ratio, SPEEDUP))
        limit = f"cache memory of int8 at most {CACHE} of fp32, {what}"
        targets.append(Target(limit, f"{caches:.3f}", caches <= CACHE))
    if name == "embedded-256":
        targets += [peak_target(fp32, "fp32"), peak_target(int8, "int8")]
    cpu = compared(int8, fp32, cpu_per_frame, 2, "CPU time")
    report.notes.append(f"{name}, CPU time, both: int8 over fp32 {cpu}")
    return targets


def peak_target(entry: Entry, precision: str) -> Target:
    peak, limit = spread_of(entry.turns, lambda turn: turn.measured.peak_rss_mb), PEAK_MB[precision]
    shown = f"{peak.median:.0f} MB ({peak.low:.0f}..{peak.high:.0f})"
    what = f"peak memory of a process at most {limit} MB, {precision}, embedded, 256x256"
    return at_most(what, peak, limit, shown)


def write_precisions(
    case: Case, folder: Path, frames: int | None, policy: Policy = DEFAULT_POLICY
) -> Bundle:
    """fp32, fp16 and INT8 for ONNX Runtime."""
    folder.mkdir()
    model, origin = case.load()
    options = StepOptions(case.size, case.size)
    with click.progressbar(length=1, label="calibrating", file=sys.stderr) as bar:
        bar.length = 0

        def tell(done: int, total: int | None) -> None:
            bar.length = max(total or 0, done)
            bar.update(done - bar.pos)

        request = CalibrationRequest(frames=frames)
        ranges = calibrate(model, options, origin.sha256, folder, request, tell).ranges
    int8 = int8_graphs(ranges, policy)[0]
    return write_bundle(case, folder, numerics=(BOTH_FP32, BOTH_FP16, int8))


# --- quality ----------------------------------------------------------------------------------


def run_quality(report: Report) -> list[Target]:
    """What `vidtok-export` verifies on the shipped clips, of which INT8 knows the first."""
    case = CASES["embedded-256"]
    with tempfile.TemporaryDirectory(prefix="precision_") as scratch:
        bundle = write_precisions(case, Path(scratch) / "bundle", frames=None)
        losses = verify_bundle(bundle, case.load()[0], Backend.CPU, chunk_plans=False).losses
    report.tables["precision-losses"] = [
        {
            "graphs": loss.graphs,
            "clip": loss.clip,
            "tokens_equal": loss.tokens_equal,
            "off_by_one": loss.off_by_one,
            "psnr_db": loss.psnr_db if math.isfinite(loss.psnr_db) else None,
            "source_psnr_db": loss.source_psnr_db,
            "loss_db": loss.loss_db,
            "source_ssim": loss.source_ssim,
        }
        for loss in losses
    ]
    return [target for loss in losses for target in loss_targets(loss)]


def loss_targets(loss: Loss) -> list[Target]:
    if loss.graphs == "fp16" and loss.tokens_equal is not None:
        least = DEFAULT_LIMITS["fp16"].tokens_equal or TOKENS
        name = f"fp16: at least {least:.0%} equal tokens, {loss.clip}"
        return [Target(name, f"{loss.tokens_equal:.2%}", loss.tokens_equal >= least)]
    if loss.graphs == "int8":
        name = f"int8: at most {LOSS_DB} dB lost, {loss.clip}"
        return [Target(name, f"{loss.loss_db:.3f} dB", loss.loss_db <= LOSS_DB)]
    return []


# --- memory of calibrating --------------------------------------------------------------------


def memory_target() -> Target:
    """Fresh processes that calibrate on one clip and on several, peak memory in MB."""
    few, many = (in_fresh_process(f"import precision; precision.calibrating({n})") for n in CLIPS)
    name = "peak memory of calibrating does not grow with the clips"
    if few is None or many is None:
        return Target(name, "not known: Linux alone tells it", False)
    shown = f"{many:.0f} MB for {CLIPS[1]}, {few:.0f} MB for {CLIPS[0]}"
    return Target(name, shown, many / few <= MEMORY_GROWTH)


def calibrating(count: int) -> None:
    """Run in a fresh process: the embedded model at 128x128, `count` clips of 13 frames."""
    model, origin = load_weights("fsq", None)
    with tempfile.TemporaryDirectory(prefix="precision_") as scratch:
        clips, folder = Path(scratch) / "clips", Path(scratch) / "bundle"
        clips.mkdir()
        folder.mkdir()
        for number in range(count):
            shutil.copy(embedded_file("clip_film.mp4"), clips / f"{number}.mp4")
        request = CalibrationRequest(clips, frames=13)
        calibrate(model, StepOptions(128, 128), origin.sha256, folder, request)
    print(json.dumps(peak_rss_mb()))


if __name__ == "__main__":
    main()
