"""The document of what was measured."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

from vidtok_edge.runtime.bench.candidate_result import CandidateResult
from vidtok_edge.runtime.bench.document import FORMAT, SCHEMA, Document, Method
from vidtok_edge.runtime.bench.measuring.figures import figures_of
from vidtok_edge.runtime.bench.measuring.latency import (
    PERCENTILES,
    curve_of,
    histogram_of,
    samples_needed,
    sorted_ns,
)
from vidtok_edge.runtime.bench.measuring.matrix import Benchmark, Entry
from vidtok_edge.runtime.bench.measuring.ratios import LEVEL, comparisons_of, ratios_of
from vidtok_edge.runtime.bench.measuring.reconstructions import pictures_of
from vidtok_edge.runtime.bench.measuring.reports import qualities_of
from vidtok_edge.runtime.bench.measuring.runs import Calls
from vidtok_edge.runtime.bench.measuring.turn import Turn
from vidtok_edge.runtime.bench.settings import Settings
from vidtok_edge.runtime.bench.turn_result import CallTimes, TurnResult

__all__ = ["document_of"]


def document_of(benchmark: Benchmark, pictures: bool = False) -> Document:
    """Everything that is shown of it.

    Args:
        pictures: whether to reconstruct a frame with each candidate: now, in this process.
    """
    entries, settings = benchmark.entries, benchmark.settings
    started = datetime.fromtimestamp(benchmark.started, timezone.utc)
    candidates = [entry.candidate for entry in entries]
    return Document(
        format=FORMAT,
        schema=SCHEMA,
        started=started.isoformat(timespec="seconds"),
        machine=benchmark.machine,
        settings=replace(settings, camera_fps=settings.fps),
        method=Method(
            samples_needed={f"p{p:g}": samples_needed(p) for p in PERCENTILES},
            level=LEVEL,
            comparisons=comparisons_of(len(entries)),
        ),
        candidates=tuple(_result(entry, settings) for entry in entries),
        troubles=tuple(benchmark.troubles),
        ratios=tuple(ratios_of(entries)),
        histogram=histogram_of([sorted_ns(_latencies(entry)) for entry in entries]),
        pictures=pictures_of(candidates, settings.clip) if pictures else None,
    )


def _latencies(entry: Entry) -> list[list[int]]:
    return [slot for turn in entry.turns for slot in turn.measured.latency_ns]


def _result(entry: Entry, settings: Settings) -> CandidateResult:
    manifest, candidate = entry.manifest, entry.candidate
    figures = figures_of(entry, settings)
    return CandidateResult(
        name=str(candidate),
        bundle=candidate.bundle_name,
        backend=candidate.backend,
        precision=candidate.precision,
        threads=candidate.threads,
        variant=manifest.model.variant,
        weights=manifest.weights,
        toolkit=manifest.toolkit,
        verified=manifest.verified,
        runs_on=figures.backend,
        graphs=tuple(entry.turns[0].graphs),
        io=manifest.io,
        height=manifest.height,
        width=manifest.width,
        streams=manifest.streams,
        chunk=manifest.chunk,
        frames_per_latent=manifest.model.time_factor,
        figures=figures,
        curve=curve_of(sorted_ns(_latencies(entry))),
        quality=tuple(qualities_of(Path(candidate.bundle))),
        turns=tuple(_turn(turn) for turn in entry.turns),
        proof=entry.turns[0].proof,
        compile_mode=candidate.compile_mode,
        proven=entry.turns[0].proven,
    )


def _turn(turn: Turn) -> TurnResult:
    """Raw values as whole microseconds: finer than they are good for."""
    measured = turn.measured
    return TurnResult(
        started=turn.started,
        backend=turn.backend,
        graphs=tuple(graph.name for graph in turn.graphs),
        meters=tuple(turn.meters),
        meters_missing=tuple(turn.meters_missing),
        frames=measured.frames,
        dropped=measured.dropped,
        most_waiting=measured.most_waiting,
        waiting_at_end=measured.waiting_at_end,
        unfinished=measured.unfinished,
        elapsed_us=round(measured.elapsed_ns / 1000),
        busy_us=round(measured.busy_ns / 1000),
        cpu_us=round(measured.cpu_ns / 1000),
        peak_rss_mb=measured.peak_rss_mb,
        peak_device_mb=turn.peak_device_mb,
        start_up=turn.start_up,
        latency_us=_slots(measured.latency_ns),
        ready_us=_slots(measured.ready_ns),
        picture_latency_us=_slots(measured.picture_latency_ns),
        encoder_calls_us=_calls(measured.encoder),
        decoder_calls_us=_calls(measured.decoder),
        samples=tuple(turn.samples),
    )


def _slots(values: list[list[int]]) -> tuple[tuple[int, ...], ...]:
    return tuple(_microseconds(slot) for slot in values)


def _calls(calls: Calls) -> CallTimes:
    return CallTimes(
        upload=_microseconds(calls.upload_ns),
        compute=_microseconds(calls.compute_ns),
        download=_microseconds(calls.download_ns),
        overhead=_microseconds(calls.overhead_ns),
    )


def _microseconds(values_ns: list[int]) -> tuple[int, ...]:
    return tuple(round(value / 1000) for value in values_ns)
