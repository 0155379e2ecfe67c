"""The runtime around the step: what a push adds to it, and whether a long stream stays flat."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from paired import CLOCKS, Kind, Sample, Spread, measure, progress, ratios
from processes import in_fresh_process, memory_mb, random_frames

from vidtok_edge.runtime import Bundle, StreamDecoder, StreamEncoder
from vidtok_edge.runtime.backends.step import Step

FLAT_SHARE = 0.1  # the last 10 % are compared with the first
OVERHEAD_ROUNDS = 4  # for each round of the cases: a share of 1 % takes more of them to see


@dataclass(frozen=True)
class Overhead:
    """What a push costs beside its step, as a share of the step."""

    kind: Kind
    step_ms: dict[str, Spread]
    inside: dict[str, Spread]
    """Push over the `Step.run` inside the same push, less 1."""
    against_bare: dict[str, Spread]
    """Push over a bare `Step.run` before it, less 1: as noisy as two steps are."""


@dataclass(frozen=True)
class Flat:
    """Whether the step stays as fast and the process as small as they were."""

    chunks: int
    first_ms: Sample
    """Median of the first 10 % of chunks, less the warm-up."""
    last_ms: Sample
    drift: dict[str, tuple[float, float]]
    """Rise of a fitted line over the whole run, as a share of the median; its standard error."""
    rss_mb: tuple[float, float]
    """After 10 % and at the end."""


def run_overhead(
    bundle: Bundle, open_kind: Callable[[Bundle, Kind], Step], runs: int
) -> list[Overhead]:
    manifest, rounds = bundle.manifest, OVERHEAD_ROUNDS * runs
    frames = random_frames(manifest.chunk_frames, manifest.height)
    encoder_step, decoder_step = open_kind(bundle, "encoder"), open_kind(bundle, "decoder")
    encoder, decoder = StreamEncoder(manifest, encoder_step), StreamDecoder(manifest, decoder_step)
    with encoder, decoder:
        latents = encoder.push(frames[0])

        def push_frames() -> None:
            for frame in frames:
                encoder.push(frame)

        def push_latents() -> None:
            for item in latents:  # the same, again and again
                decoder.push_values(item.values, slot=item.slot)

        return [
            overhead_of("encoder", push_frames, encoder_step, rounds),
            overhead_of("decoder", push_latents, decoder_step, rounds),
        ]


def overhead_of(kind: Kind, push: Callable[[], None], step: Step, rounds: int) -> Overhead:
    run, inner = step.run, list[Sample]()
    setattr(step, "run", lambda: inner.append(measure(run)))  # noqa: B010  mypy: a method
    for _ in range(3):
        push()
    inner.clear()
    pushes, bare = [], []
    with progress(range(rounds), f"overhead: {kind}") as numbers:
        for _ in numbers:
            bare.append(measure(run))
            pushes.append(measure(push))
    assert len(inner) == rounds, "a push is one step"
    return Overhead(
        kind,
        {clock: Spread.of([1e3 * s[clock] for s in inner]) for clock in CLOCKS},
        {clock: excess(pushes, inner, clock) for clock in CLOCKS},
        {clock: excess(pushes, bare, clock) for clock in CLOCKS},
    )


def excess(pushes: Sequence[Sample], steps: Sequence[Sample], clock: str) -> Spread:
    """By how much a push is longer than its step; 0 is equal."""
    ratio = ratios(pushes, steps, clock)
    return Spread(ratio.median - 1, ratio.low - 1, ratio.high - 1)


def run_flat(bundle: Path, chunks: int) -> Flat:
    code = f"import streams; streams.flat_process({str(bundle)!r}, {chunks})"
    seconds, (early, late) = in_fresh_process(code)
    samples = [Sample(*s) for s in seconds[max(2, chunks // 100) :]]
    part = max(1, int(FLAT_SHARE * len(samples)))
    return Flat(
        chunks,
        median_ms(samples[:part]),
        median_ms(samples[-part:]),
        {clock: drift([s[clock] for s in samples]) for clock in CLOCKS},
        (early, late),
    )


def flat_process(path: str, chunks: int) -> None:
    """Run in a fresh process, so that the memory is the runtime's: one long stream."""
    bundle, early = Bundle.load(path), 0.0
    samples = np.zeros((chunks, 2))  # made and written now: it must not grow with the stream
    samples[:] = 1
    frames = random_frames(bundle.manifest.chunk_frames, bundle.manifest.height)
    with bundle.encoder("cpu") as encoder:
        encoder.push(frames[0])

        def push_chunk() -> None:
            for frame in frames:
                encoder.push(frame)

        with progress(range(chunks), "flat: pushing chunks") as numbers:
            for number in numbers:
                if number == int(FLAT_SHARE * chunks):
                    early = memory_mb("VmRSS")
                sample = measure(push_chunk)
                samples[number] = sample.cpu, sample.wall
        late = memory_mb("VmRSS")
    print(json.dumps([samples.tolist(), (early, late)]))


def median_ms(samples: Sequence[Sample]) -> Sample:
    cpu, wall = (1e3 * statistics.median(s[clock] for s in samples) for clock in CLOCKS)
    return Sample(cpu, wall)


def drift(values: Sequence[float], blocks: int = 20) -> tuple[float, float]:
    """A line through the medians of blocks: its rise over the run and the rise's standard error."""
    heights = [float(np.median(block)) for block in np.array_split(np.asarray(values), blocks)]
    middles = (np.arange(blocks) + 0.5) / blocks
    line, covariance = np.polyfit(middles, heights, 1, cov=True)
    middle = statistics.median(heights)
    return float(line[0]) / middle, float(covariance[0, 0]) ** 0.5 / middle
