"""What FP16 and INT8 buy and cost: step time, cache memory, quality, and memory of calibrating.

    python benchmarks/precision.py --only embedded-256 --runs 5

README.md says how to read it.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
from candidates import CASES
from paired import CLOCKS, KINDS, Candidate, Kind, Sample, Spread, ratios, run_rounds
from processes import in_fresh_process, memory_mb
from results import machine_facts
from targets import Target, doubt, verdict

from vidtok_edge.calib.calibration import CalibrationRequest, calibrate
from vidtok_edge.calib.int8 import int8_graphs
from vidtok_edge.calib.policy import DEFAULT_POLICY
from vidtok_edge.export.bundle_files import write_graphs
from vidtok_edge.export.verifying.loss import DEFAULT_LIMITS, Loss
from vidtok_edge.export.verifying.verification import verify_bundle
from vidtok_edge.lowering.facts import BOTH_FP16, BOTH_FP32
from vidtok_edge.lowering.step import StepOptions
from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.backends.backend import Backend
from vidtok_edge.runtime.backends.choosing import open_step
from vidtok_edge.vidtok_ref import VidTok, embedded_file, load_weights

SPEED = ("embedded-256", "full-128")
PARTS = (*SPEED, "quality", "memory")
SPEEDUP, CACHE, TOKENS, LOSS_DB = 2.0, 0.27, 0.99, 0.5
MEMORY_GROWTH = 1.05
CLIPS = (1, 6)


@dataclass(frozen=True)
class Speed:
    """INT8 against float32, one graph."""

    case: str
    kind: Kind
    fp32_ms: dict[str, Spread]
    int8_ms: dict[str, Spread]
    ratio: dict[str, Spread]
    """Time of fp32 over that of int8, by clock."""
    cache_ratio: float
    int8_work: float


@dataclass
class Measured:
    """None and empty lists stand for what was not asked for."""

    machine: dict[str, str]
    runs: int
    speed: list[Speed] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    calibration_mb: dict[int, float] = field(default_factory=dict)
    """Peak memory of calibrating, by the number of clips."""


@click.command(help=__doc__)
@click.option("--only", metavar="PARTS", help=f"Of {', '.join(PARTS)}; comma-separated.")
@click.option("--runs", default=7, show_default=True, help="Paired rounds.")
@click.option("--json", "json_path", type=click.Path(path_type=Path))
@click.option("--strict", is_flag=True, help="Exit 1 where a target is missed.")
def main(only: str | None, runs: int, json_path: Path | None, strict: bool) -> None:
    parts = only.split(",") if only else PARTS
    if unknown := set(parts) - set(PARTS):
        raise click.BadParameter(f"{', '.join(sorted(unknown))}; allowed: {', '.join(PARTS)}")
    measured = Measured(machine_facts(), runs)
    for name in SPEED:
        if name in parts:
            measured.speed += run_speed(name, runs)
    if "quality" in parts:
        measured.losses = run_quality()
    if "memory" in parts:
        measured.calibration_mb = run_memory()
    targets = targets_of(measured)
    click.echo(report_of(measured, targets))
    if json_path:
        document = {**asdict(measured), "targets": [asdict(target) for target in targets]}
        json_path.write_text(json.dumps(document, indent=1) + "\n")
    if strict and any(target.verdict != "reached" for target in targets):
        raise SystemExit(1)


# --- measuring --------------------------------------------------------------------------------


def run_speed(name: str, runs: int) -> list[Speed]:
    """Both graphs of a case; INT8 by the default recipe, from a few latents of the shipped clip."""
    case = CASES[name]
    model, origin = load_weights(case.variant, case.weights)
    with tempfile.TemporaryDirectory(prefix="precision_") as scratch:
        bundle = write_bundle(model, origin.sha256, case.size, Path(scratch), frames=9)
        return [compare_kind(name, bundle, kind, runs) for kind in KINDS]


def write_bundle(model: VidTok, sha256: str, size: int, folder: Path, frames: int | None) -> Bundle:
    """fp32, fp16 and INT8 for ONNX Runtime."""
    options = StepOptions(size, size)
    with click.progressbar(length=1, label="calibrating", file=sys.stderr) as bar:
        bar.length = 0

        def tell(done: int, total: int | None) -> None:
            bar.length = max(total or 0, done)
            bar.update(done - bar.pos)

        ranges = calibrate(
            model, options, sha256, folder, CalibrationRequest(frames=frames), tell
        ).ranges
    int8 = int8_graphs(ranges, DEFAULT_POLICY)[0]
    return write_graphs(model, options, folder, numerics=(BOTH_FP32, BOTH_FP16, int8))


def compare_kind(name: str, bundle: Bundle, kind: Kind, runs: int) -> Speed:
    graphs = {p: bundle.manifest.graph(kind, p) for p in ("fp32", "int8")}
    with ExitStack() as stack:
        candidates = []
        for precision, graph in graphs.items():
            step = stack.enter_context(open_step(bundle.path, graph, Backend.CPU))
            step.inputs["start"][:] = True
            step.run()
            step.inputs["start"][:] = False
            step.run()
            output = step.outputs["tokens" if kind == "encoder" else "frames"]
            candidates.append(Candidate(precision, step.run, partial(np.asarray, output)))
        samples = run_rounds(candidates, runs, 2, f"{name} {kind}: measuring")
    return Speed(
        name,
        kind,
        spreads(samples["fp32"]),
        spreads(samples["int8"]),
        {clock: ratios(samples["fp32"], samples["int8"], clock) for clock in CLOCKS},
        graphs["int8"].cache_bytes / graphs["fp32"].cache_bytes,
        graphs["int8"].work_int8_permille / 1000,
    )


def spreads(samples: Sequence[Sample]) -> dict[str, Spread]:
    return {clock: Spread.of([1000 * sample[clock] for sample in samples]) for clock in CLOCKS}


def run_quality() -> list[Loss]:
    """What `vidtok-export` verifies on the shipped clips, of which INT8 knows the first."""
    case = CASES["embedded-256"]
    model, origin = load_weights(case.variant, case.weights)
    with tempfile.TemporaryDirectory(prefix="precision_") as scratch:
        bundle = write_bundle(model, origin.sha256, case.size, Path(scratch), frames=None)
        return list(verify_bundle(bundle, model, Backend.CPU, chunk_plans=False).losses)


def run_memory() -> dict[int, float]:
    """Fresh processes that calibrate on one clip and on several, peak memory in MB."""
    return {
        count: in_fresh_process(f"import precision; precision.calibrating({count})")
        for count in CLIPS
    }


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
    print(json.dumps(memory_mb("VmHWM")))


# --- judging and printing ---------------------------------------------------------------------


def targets_of(measured: Measured) -> list[Target]:
    targets = []
    for speed in measured.speed:
        ratio, what = speed.ratio["wall"], f"{speed.kind}, {speed.case}"
        targets.append(
            Target(
                f"int8 over fp32, {what}, wall",
                f">= {SPEEDUP:g}",
                ratio.ratio_text(),
                verdict(ratio.median >= SPEEDUP),
                doubt(ratio, SPEEDUP),
            )
        )
        targets.append(
            Target(
                f"caches of int8 / fp32, {what}",
                f"<= {CACHE}",
                f"{speed.cache_ratio:.3f}",
                verdict(speed.cache_ratio <= CACHE),
            )
        )
    for loss in measured.losses:
        if loss.graphs == "fp16" and loss.tokens_equal is not None:
            least = DEFAULT_LIMITS["fp16"].tokens_equal or TOKENS
            targets.append(
                Target(
                    f"equal tokens, fp16, {loss.clip}",
                    f">= {least:.0%}",
                    f"{loss.tokens_equal:.2%}",
                    verdict(loss.tokens_equal >= least),
                )
            )
        if loss.graphs == "int8":
            targets.append(
                Target(
                    f"PSNR lost, int8, {loss.clip}",
                    f"<= {LOSS_DB} dB",
                    f"{loss.loss_db:.3f} dB",
                    verdict(loss.loss_db <= LOSS_DB),
                )
            )
    if measured.calibration_mb:
        few, many = (measured.calibration_mb[count] for count in CLIPS)
        targets.append(
            Target(
                f"peak memory of calibrating, {CLIPS[1]} clips / {CLIPS[0]}",
                f"<= {MEMORY_GROWTH}",
                f"{many:.0f} / {few:.0f} MB = {many / few:.3f}",
                verdict(many / few <= MEMORY_GROWTH),
            )
        )
    return targets


def report_of(measured: Measured, targets: Sequence[Target]) -> str:
    parts = [", ".join(f"{name} {value}" for name, value in measured.machine.items())]
    if measured.speed:
        parts.append(
            markdown(
                ["graph", "fp32 ms", "int8 ms", "wall", "CPU time", "caches", "work in INT8"],
                [
                    [
                        f"{s.case}, {s.kind}",
                        ms(s.fp32_ms),
                        ms(s.int8_ms),
                        s.ratio["wall"].ratio_text(),
                        s.ratio["cpu"].ratio_text(),
                        f"{s.cache_ratio:.3f}",
                        f"{s.int8_work:.0%}",
                    ]
                    for s in measured.speed
                ],
            )
        )
    if measured.losses:
        parts.append(
            markdown(
                [
                    "graphs, clip",
                    "equal tokens",
                    "off by one level",
                    "dB to fp32",
                    "PSNR dB",
                    "SSIM",
                ],
                [
                    [
                        f"{x.graphs}, {x.clip}",
                        share(x.tokens_equal),
                        share(x.off_by_one),
                        f"{x.psnr_db:.1f}",
                        f"{x.source_psnr_db:.2f} ({-x.loss_db:+.3f})",
                        f"{x.source_ssim:.4f}",
                    ]
                    for x in measured.losses
                ],
            )
        )
    parts.append(
        markdown(
            ["target", "limit", "measured", ""],
            [
                [t.name, t.limit, t.measured, f"{t.verdict}{'; ' + t.doubt if t.doubt else ''}"]
                for t in targets
            ],
        )
    )
    return "\n\n".join(parts)


def ms(spread: dict[str, Spread]) -> str:
    return f"{spread['wall'].median:.0f}"


def share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}"


def markdown(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


if __name__ == "__main__":
    main()
