"""Figures over turns."""

from __future__ import annotations

from typing import Any

import pytest
from fake_step import fake_manifest

from vidtok_edge.runtime.bench.figures import Breakdown, StartUp
from vidtok_edge.runtime.bench.measuring.candidate import Candidate
from vidtok_edge.runtime.bench.measuring.figures import breakdown_of, figures_of, rss_growth
from vidtok_edge.runtime.bench.measuring.matrix import Entry
from vidtok_edge.runtime.bench.measuring.runs import Calls, Measured
from vidtok_edge.runtime.bench.measuring.turn import Turn
from vidtok_edge.runtime.bench.sample import Sample
from vidtok_edge.runtime.bench.settings import Pace, Settings

MS = 1_000_000
SETTINGS = Settings(Pace(40.0), seconds=4, rounds=2)


def calls(n: int, **milliseconds: float) -> Calls:
    """`n` equal calls."""
    parts = ("upload", "compute", "download", "overhead")
    return Calls(**{f"{p}_ns": [round(milliseconds.get(p, 0) * MS)] * n for p in parts})


def turn(latency_ms: float = 10, n: int = 10, **options: Any) -> Turn:
    given = {
        "latency_ns": [[round(latency_ms * MS)] * n],
        "ready_ns": [[0] * n],
        "picture_latency_ns": [[]],
        "encoder": calls(n, compute=latency_ms, overhead=latency_ms / 50),
        "frames": 4 * n,
        "elapsed_ns": 100 * n * MS,
        "busy_ns": round(n * latency_ms * MS),
        "cpu_ns": 50 * n * MS,
        "peak_rss_mb": 130.0,
    }
    return Turn(
        started=0.0,
        backend="cpu on x 1",
        fell_back="",
        graphs=[],
        start_up=StartUp(process_ms=1, load_ms=2, open_ms=3, first_token_ms=latency_ms),
        measured=Measured(**{**given, **options}),
        peak_device_mb=500.0,
        samples=[
            Sample(time_s=0.5 * i, rss_mb=100.0 + i, package_w=5.0, gpu_w=3.0) for i in range(20)
        ],
    )


def entry(*turns: Turn, name: str = "a") -> Entry:
    return Entry(Candidate(f"/{name}", "cpu", "fp32"), fake_manifest(), list(turns))


def test_figures_of_two_turns() -> None:
    figures = figures_of(entry(turn(10), turn(30)), SETTINGS)
    assert (figures.latency.n, figures.latency.min_ms, figures.latency.max_ms) == (20, 10, 30)
    assert figures.latency.deadline_ms == 100, "four frames at 40 a second"
    assert figures.frames_per_s == pytest.approx(40)
    assert figures.busy_share == pytest.approx(0.2)
    # 80 frames are 2 s of video; the encoder was busy for 0.4 s.
    assert figures.real_time_factor == pytest.approx(5)
    assert figures.cpu_cores == pytest.approx(0.5)
    assert (figures.start_up.load_ms, figures.start_up.first_token_ms) == (2, 20)
    assert figures.start_up_total_ms == figures.start_up.total_ms == 26
    assert (figures.package_w, figures.gpu_w, figures.module_w) == (5, 3, None)
    assert figures.peak_device_mb == 500 and figures.peak_rss_mb == 130
    assert figures.joules_per_frame == pytest.approx(8 * 2.0 / 80)
    assert figures.temperature_c is None
    assert figures.encoder is not None and figures.encoder.overhead_share == pytest.approx(0.02)
    assert figures.decoder is None and figures.keeps_up


@pytest.mark.parametrize(
    "trouble", [{"dropped": 1}, {"unfinished": 2}, {"latency_ns": [[101 * MS]]}]
)
def test_what_does_not_keep_up(trouble: dict[str, Any]) -> None:
    assert not figures_of(entry(turn(10, **trouble)), SETTINGS).keeps_up


def test_a_deadline_of_the_user() -> None:
    figures = figures_of(entry(turn(10)), Settings(Pace(40.0), deadline_ms=9.5))
    assert (figures.latency.deadline_ms, figures.latency.misses) == (9.5, 10)


def test_a_breakdown_is_of_medians() -> None:
    found = breakdown_of(
        [
            calls(1, upload=1, compute=4, overhead=1),
            calls(2, upload=1, compute=9, overhead=1),
        ]
    )
    assert found == Breakdown(
        calls=3,
        upload_ms=1.0,
        compute_ms=9.0,
        download_ms=None,
        overhead_ms=1.0,
        overhead_share=0.1,
    ), "no download is not one of 0 ms"
    assert found.total_ms == 11.0
    assert breakdown_of([Calls()]) is None


def test_growth_is_of_the_ends_of_a_turn() -> None:
    samples = [Sample(time_s=float(i), rss_mb=200.0 if i < 90 else 210.0) for i in range(100)]
    assert rss_growth(samples) == pytest.approx(0.05)
    assert rss_growth(samples[:9]) is None and rss_growth([Sample(time_s=0.0)] * 50) is None
