"""What a step costs: the original in PyTorch, a naive export of it, and our three forms.

    python benchmarks/step_graph.py --quick --only embedded-256

README.md says how to read it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np
from cases import CASES, FORMS, Case, write_bundle
from originals import COMPILED, EAGER, NAIVE, export_naive, original
from processes import run_import
from report import Report, begin
from rounds import (
    compared,
    cpu_per_frame,
    measured,
    overhead_share,
    saturated,
    spread_of,
    step_ms,
)
from start import start_target
from targets import Target, at_least, at_most, percent_text, ratio_row

from vidtok_edge.lowering.interface import KINDS
from vidtok_edge.lowering.step import Kind
from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.bench.measuring.candidate import Candidate
from vidtok_edge.runtime.bench.measuring.frames import moving_frames
from vidtok_edge.runtime.bench.measuring.matrix import Entry
from vidtok_edge.runtime.bench.measuring.ratios import Spread, paired, rounds_needed
from vidtok_edge.runtime.bench.measuring.turn import Turn
from vidtok_edge.runtime.bench.ratio import Ratio
from vidtok_edge.runtime.bench.settings import Pace, Settings

CHECKS = ("overhead", "import", "start", "memory", "flat")
COMPARED = 8
"""As many comparisons of encoder and decoder as each of eight candidates with the first: three
forms, each with eager and with the naive export, and channels_last with conv2d."""
OVER_EAGER: Mapping[str, Mapping[Kind, float]] = {
    "embedded-256": {"encoder": 1.5, "decoder": 1.35},
    "full-128": {"encoder": 1.9, "decoder": 1.9},
}
OVER_NAIVE: Mapping[str, Mapping[Kind, float]] = {"full-128": {"encoder": 2.0}}
OVER_OPENVINO = 1.0
OVERHEAD, IMPORT_S, MEMORY = 0.03, 0.3, 1 / 3
FLAT_SHARE = 0.1  # the last 10 % are compared with the first
FLAT_TIME, FLAT_MEMORY = 1.05, 1.01
MEMORY_ROUNDS = 3  # PyTorch's peak differs by a quarter from process to process
HOW = (
    "`python benchmarks/step_graph.py`, candidates in turn, each turn a process; ratios per round, "
    "median (min..max), by wall time; every library's own defaults; fp32, one step is 4 frames or "
    "one latent"
)


def parse_only(_context: click.Context, _option: click.Parameter, value: str) -> list[str]:
    known = [*CASES, *CHECKS]
    names = [name.strip() for name in value.split(",")] if value else known
    if wrong := sorted(set(names) - set(known)):
        raise click.BadParameter(f"{', '.join(wrong)}; there are {', '.join(known)}")
    return names


@click.command()
@click.option("--only", callback=parse_only, default="", help="Comma-separated cases and checks.")
@click.option("--quick", is_flag=True, help="3 rounds and 100 chunks: does it run?")
@click.option(
    "--runs",
    type=click.IntRange(2),
    default=rounds_needed(COMPARED),
    show_default=True,
    help="Rounds.",
)
@click.option("--chunks", type=click.IntRange(100), default=2000, show_default=True)
@click.option("--compile", "compiled", is_flag=True, help="Also torch.compile; takes minutes.")
@click.option("--openvino", is_flag=True, help="Also OpenVINO on our graphs; needs openvino.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, writable=True, path_type=Path))
@click.option("--strict", is_flag=True, help="Exit 1 where a target that was measured is missed.")
def main(
    only: list[str],
    quick: bool,
    runs: int,
    chunks: int,
    compiled: bool,
    openvino: bool,
    json_file: Path | None,
    strict: bool,
) -> None:
    """Compare step graphs with PyTorch and with a naive export, and check the targets."""
    if quick:
        runs, chunks = 3, 100
    report, targets = begin("step_graph", f"{HOW}; {runs} rounds"), list[Target]()
    for name, case in CASES.items():
        if name in only:
            targets += run_case(report, name, case, runs, compiled, openvino)
    if "import" in only:
        targets += import_targets(report)
    if {"overhead", "start", "memory", "flat"} & set(only):
        with tempfile.TemporaryDirectory(prefix="step_graph_") as folder:
            bundle = write_bundle(CASES["embedded-256"], Path(folder) / "bundle").path
            if "overhead" in only:
                targets += overhead_targets(bundle, runs)
            if "start" in only:
                targets.append(start_target(report, bundle, "fp32"))
            if "memory" in only:
                targets.append(memory_target(bundle))
            if "flat" in only:
                targets += flat_targets(bundle, chunks)
    report.judge("speed-targets", targets)
    report.show()
    report.write(json_file)
    if strict and not report.reached:
        raise SystemExit(1)


# --- speed ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Versus:
    """Our forms against one of the originals, one kind."""

    conv2d: Ratio
    conv3d: Ratio
    channels_last: Ratio


def run_case(
    report: Report, name: str, case: Case, runs: int, compiled: bool, openvino: bool
) -> Sequence[Target]:
    """Rows of the table `speed`, and the targets that are about this case."""
    with tempfile.TemporaryDirectory(prefix="step_graph_") as scratch:
        bundles = [write_bundle(case, Path(scratch) / form, form) for form in FORMS]
        export_naive(bundles[0])
        folder = bundles[0].path
        candidates = [original(folder, EAGER), original(folder, NAIVE)]
        candidates += [Candidate(str(bundle.path), "cpu", "fp32") for bundle in bundles]
        candidates += [original(folder, COMPILED)] if compiled else []
        if openvino:
            candidates += [Candidate(str(b.path), "openvino", "fp32") for b in bundles]
        report.notes += agreement(name, candidates)
        settings = saturated(case.seconds * runs, runs)
        eager, naive, *entries = measured(candidates, settings, name).entries
        forms, rest = entries[: len(FORMS)], entries[len(FORMS) :]
        conv2d, _, channels_last = forms
    rows, targets = report.tables.setdefault("speed", []), list[Target]()
    for kind in KINDS:
        value_of = step_ms(kind)
        over_eager, over_naive = (
            Versus(*(compared(form, other, value_of, COMPARED, kind) for form in forms))
            for other in (eager, naive)
        )
        over_conv2d = compared(channels_last, conv2d, value_of, COMPARED, kind)
        rows.append(
            {
                "case": f"{case.title}, {kind}",
                "eager_ms": spread_of(eager.turns, value_of).median,
                "conv2d_ms": spread_of(conv2d.turns, value_of).median,
                "conv2d_over_eager": ratio_row(over_eager.conv2d),
                "conv2d_over_naive": ratio_row(over_naive.conv2d),
                "channels_last_over_conv2d": ratio_row(over_conv2d),
                "channels_last_over_eager": ratio_row(over_eager.channels_last),
                "channels_last_over_naive": ratio_row(over_naive.channels_last),
                "conv3d_over_eager": ratio_row(over_eager.conv3d),
                "conv3d_over_naive": ratio_row(over_naive.conv3d),
            }
        )
        others = [compared(channels_last, entry, value_of, COMPARED, kind) for entry in rest]
        report.notes += [f"{name}, {kind}: channels_last over {r.against} {r}" for r in others]
        targets += speed_targets(name, kind, over_eager.channels_last, over_naive.channels_last)
        if in_openvino := [r for r in others if " openvino " in r.against]:
            best = min(in_openvino, key=lambda ratio: ratio.median)
            what = f"channels_last at least {OVER_OPENVINO}x OpenVINO's best, {case.title}, {kind}"
            targets.append(at_least(what, best, OVER_OPENVINO))
    for entry in forms:
        ratio = compared(entry, eager, cpu_per_frame, COMPARED, "CPU time")
        report.notes.append(f"{name}, CPU time, both: {ratio.candidate} over eager {ratio}")
    return targets


def speed_targets(name: str, kind: Kind, over_eager: Ratio, over_naive: Ratio) -> list[Target]:
    wanted = [("eager", over_eager, OVER_EAGER), ("a naive export", over_naive, OVER_NAIVE)]
    return [
        at_least(
            f"channels_last at least {limit}x {other}, {CASES[name].title}, {kind}", ratio, limit
        )
        for other, ratio, limits in wanted
        if (limit := limits.get(name, {}).get(kind)) is not None
    ]


def agreement(name: str, candidates: Sequence[Candidate]) -> list[str]:
    """What the first chunk of each candidate has in common with that of the first of them."""
    outputs = [first_chunk(candidate) for candidate in candidates]
    tokens, pixels = outputs[0]
    return [
        f"{name}, {candidate}: {(mine == tokens).mean():.2%} of the first tokens are eager's; of "
        f"the same tokens it makes pixels at most {np.abs(made - pixels).max()} levels away"
        for candidate, (mine, made) in zip(candidates[1:], outputs[1:], strict=True)
    ]


def first_chunk(candidate: Candidate) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Its first tokens, and the frames int16 that it makes of tokens that are all alike for all."""
    bundle = Bundle.load(candidate.bundle)
    manifest = bundle.manifest
    encoder, decoder = candidate.open(bundle, decode=True)
    assert decoder is not None
    with encoder, decoder:
        [frame] = moving_frames(1, manifest.height, manifest.width)
        [latents] = encoder.push(frame)
        tokens = latents.values.copy()
        random = np.random.default_rng(0)
        given = random.integers(0, manifest.model.codebook_size, tokens.shape, dtype=tokens.dtype)
        pictures = decoder.push_values(given)
        return tokens, np.stack([picture.pixels for picture in pictures]).astype(np.int16)


# --- the runtime around a step ----------------------------------------------------------------


def overhead_targets(bundle: Path, runs: int) -> list[Target]:
    settings = saturated(3.0 * runs, runs)
    [entry] = measured([Candidate(str(bundle), "cpu", "fp32")], settings, "overhead").entries
    targets = []
    for kind in KINDS:
        share = spread_of(entry.turns, overhead_share(kind))
        what = f"a push at most {OVERHEAD:.0%} longer than its step, {kind}, embedded, 256x256"
        targets.append(at_most(what, share, OVERHEAD, percent_text(share)))
    return targets


def import_targets(report: Report) -> list[Target]:
    imports = run_import()
    loads = "also loads" if imports.onnxruntime_loaded else "does not load"
    report.notes.append(f"`import vidtok_edge.runtime` {loads} onnxruntime.")
    seconds = imports.seconds
    shown = f"{seconds.median:.3f} s ({seconds.low:.3f}..{seconds.high:.3f})"
    what = f"`import vidtok_edge.runtime` at most {IMPORT_S} s"
    loaded = ", ".join(imports.loaded) or "none"
    return [
        at_most(what, seconds, IMPORT_S, shown),
        Target("torch, onnx and av are not loaded by it", loaded, not imports.loaded),
    ]


def memory_target(bundle: Path) -> Target:
    """Peaks of whole processes that encode and decode, in pairs."""
    candidates = [original(bundle, EAGER), Candidate(str(bundle), "cpu", "fp32")]
    settings = saturated(2.0 * MEMORY_ROUNDS, MEMORY_ROUNDS)
    eager, ours = measured(candidates, settings, "memory").entries
    ratio = Spread.of(paired(ours.turns, eager.turns, peak_mb))
    mine, theirs = (spread_of(entry.turns, peak_mb).median for entry in (ours, eager))
    shown = f"{mine:.0f} / {theirs:.0f} MB, {ratio.median:.2f} ({ratio.low:.2f}..{ratio.high:.2f})"
    what = "peak memory at most a third of the PyTorch process's, embedded, 256x256, both kinds"
    return at_most(what, ratio, MEMORY, shown)


def peak_mb(turn: Turn) -> float | None:
    return turn.measured.peak_rss_mb


def flat_targets(bundle: Path, chunks: int) -> list[Target]:
    """One long stream, for as long as about so many chunks take."""
    candidate = Candidate(str(bundle), "cpu", "fp32")
    entry = one_turn(candidate, 3.0, "flat: how long a chunk takes")
    chunk_s = spread_of(entry.turns, step_ms("encoder")).median / 1e3
    turn = one_turn(candidate, chunks * chunk_s, f"flat: about {chunks} chunks").turns[0]
    calls = turn.measured.encoder.compute_ns
    part = max(1, int(FLAT_SHARE * len(calls)))
    first, last = median(calls[:part]) / 1e6, median(calls[-part:]) / 1e6
    over = f"over {len(calls)} chunks"
    known = [s.rss_mb for s in turn.samples if s.rss_mb is not None]
    late = known[int(FLAT_SHARE * len(known)) :]
    memory = "not known: psutil is not installed"
    if late:
        memory = f"{late[-1]:.1f} / {late[0]:.1f} MB = {late[-1] / late[0]:.3f}"
    return [
        Target(
            f"step time {over}, last 10 % / first 10 %, at most {FLAT_TIME}",
            f"{last:.1f} / {first:.1f} ms = {last / first:.3f}, drift {drift_text(calls)}",
            last / first <= FLAT_TIME,
        ),
        Target(
            f"memory {over}, end / after 10 %, at most {FLAT_MEMORY}",
            memory,
            bool(late) and late[-1] / late[0] <= FLAT_MEMORY,
        ),
    ]


def one_turn(candidate: Candidate, seconds: float, label: str) -> Entry:
    settings = Settings(Pace(None), seconds=seconds, warmup_s=0.0)
    return measured([candidate], settings, label).entries[0]


def drift_text(values: Sequence[int], blocks: int = 20) -> str:
    """A line through the medians of blocks: its rise over the run, as a share, and its error."""
    edges = [round(len(values) * n / blocks) for n in range(blocks + 1)]
    heights = [median(values[a:b]) for a, b in pairwise(edges) if b > a]
    if len(heights) < blocks:
        return "not known from so few"
    line, covariance = np.polyfit((np.arange(blocks) + 0.5) / blocks, heights, 1, cov=True)
    middle = median(heights)
    return f"{float(line[0]) / middle:+.2%} ± {float(covariance[0, 0]) ** 0.5 / middle:.2%}"


if __name__ == "__main__":
    main()
