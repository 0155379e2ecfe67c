"""The benchmark as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from vidtok_edge.runtime.bench.measuring.figures import Figures
from vidtok_edge.runtime.bench.measuring.matrix import Benchmark, Entry
from vidtok_edge.runtime.bench.measuring.ratios import ratios_of
from vidtok_edge.runtime.bench.measuring.turn import Settings, Turn
from vidtok_edge.runtime.files import write_beside

__all__ = ["SCHEMA", "document_of", "write_json"]

SCHEMA = 1


def document_of(benchmark: Benchmark) -> dict[str, Any]:
    """Everything, as JSON has it: docs/bench.md says what each field is."""
    started = datetime.fromtimestamp(benchmark.started, timezone.utc)
    return {
        "format": "vidtok-edge-bench",
        "schema": SCHEMA,
        "started": started.isoformat(timespec="seconds"),
        "machine": asdict(benchmark.machine),
        "settings": {**asdict(benchmark.settings), "camera_fps": benchmark.settings.fps},
        "candidates": [_entry(entry, benchmark.settings) for entry in benchmark.entries],
        "troubles": benchmark.troubles,
        "ratios": [
            {**asdict(r), "p": r.p, "verdict": r.verdict} for r in ratios_of(benchmark.entries)
        ],
    }


def _entry(entry: Entry, settings: Settings) -> dict[str, Any]:
    manifest, candidate = entry.manifest, entry.candidate
    figures = Figures.of(entry, settings)
    return {
        "name": str(candidate),
        "bundle": candidate.bundle_name,
        "backend": candidate.backend,
        "precision": candidate.precision,
        "threads": candidate.threads,
        "variant": manifest.model.variant,
        "weights": asdict(manifest.weights),
        "toolkit": manifest.toolkit,
        "verified": manifest.verified,
        "runs_on": figures.backend,
        "graphs": [asdict(graph) for graph in entry.turns[0].graphs],
        "io": manifest.io,
        "height": manifest.height,
        "width": manifest.width,
        "streams": manifest.streams,
        "chunk": manifest.chunk,
        "frames_per_latent": manifest.model.time_factor,
        "figures": {
            **asdict(figures),
            "keeps_up": figures.keeps_up,
            "start_up_total_ms": figures.start_up.total_ms,
        },
        "turns": [_turn(turn) for turn in entry.turns],
    }


def _turn(turn: Turn) -> dict[str, Any]:
    """Raw values as whole microseconds: finer than they are good for."""
    measured = turn.measured

    def microseconds(values: list[int]) -> list[int]:
        return [round(value / 1000) for value in values]

    return {
        "started": turn.started,
        "backend": turn.backend,
        "graphs": [graph.name for graph in turn.graphs],
        "meters": turn.meters,
        "frames": measured.frames,
        "dropped": measured.dropped,
        "most_waiting": measured.most_waiting,
        "waiting_at_end": measured.waiting_at_end,
        "unfinished": measured.unfinished,
        "elapsed_us": round(measured.elapsed_ns / 1000),
        "busy_us": round(measured.busy_ns / 1000),
        "cpu_us": round(measured.cpu_ns / 1000),
        "peak_rss_mb": measured.peak_rss_mb,
        "peak_device_mb": turn.peak_device_mb,
        "start_up": asdict(turn.start_up),
        "latency_us": [microseconds(stream) for stream in measured.latency_ns],
        "ready_us": [microseconds(stream) for stream in measured.ready_ns],
        "picture_latency_us": [microseconds(stream) for stream in measured.picture_latency_ns],
        "encoder_calls_us": {k: microseconds(v) for k, v in asdict(measured.encoder).items()},
        "decoder_calls_us": {k: microseconds(v) for k, v in asdict(measured.decoder).items()},
        "samples": [
            {name: value for name, value in asdict(sample).items() if value is not None}
            for sample in turn.samples
        ],
    }


def write_json(benchmark: Benchmark, path: Path, force: bool = False) -> None:
    """Write the document; raises OutputExists and OutputNotWritable as `write_beside` does."""
    text = json.dumps(document_of(benchmark), separators=(",", ":"), allow_nan=False)
    with write_beside(path, force) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
