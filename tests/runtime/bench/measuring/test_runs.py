"""A measured run on a clock of our own: what counts, from when, and to whom time is put down."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fake_step import fake_manifest, frame_of
from slow_step import MS, FakeClock, SlowStep

from vidtok_edge.runtime import StreamDecoder, StreamEncoder
from vidtok_edge.runtime.bench.figures import StartUp
from vidtok_edge.runtime.bench.measuring.candidate import Candidate
from vidtok_edge.runtime.bench.measuring.figures import figures_of
from vidtok_edge.runtime.bench.measuring.latency import latency_of
from vidtok_edge.runtime.bench.measuring.matrix import Entry
from vidtok_edge.runtime.bench.measuring.runs import FIRST_CALLS, Measured, run_measured
from vidtok_edge.runtime.bench.measuring.turn import Turn
from vidtok_edge.runtime.bench.settings import Pace, Settings

FRAMES = [frame_of(value) for value in range(16)]


def run(
    pace: Pace,
    *,
    took_ms: Callable[[int], float] = lambda call: 10.0,
    overhead_ms: float = 0.0,
    decode_ms: float | None = None,
    warmup_s: float = 1.0,
    seconds: float = 4.0,
    **options: Any,
) -> tuple[Measured, SlowStep]:
    clock, manifest = FakeClock(), fake_manifest(**options)
    step = SlowStep(manifest, "encoder", clock=clock, took_ms=took_ms, overhead_ms=overhead_ms)
    decoder = None
    if decode_ms is not None:
        took = decode_ms
        decoder = StreamDecoder(
            manifest, SlowStep(manifest, "decoder", clock=clock, took_ms=lambda call: took)
        )
    encoder = StreamEncoder(manifest, step)
    measured = run_measured(
        encoder, decoder, FRAMES, pace, warmup_s=warmup_s, seconds=seconds, clock=clock
    )
    return measured, step


def test_saturated_counts_what_follows_the_warm_up() -> None:
    measured, step = run(Pace(None))
    assert len(measured.latency_ns[0]) == 400 == len(measured.encoder.compute_ns)
    assert set(measured.latency_ns[0]) == {10 * MS}
    assert measured.frames == 1600 and measured.elapsed_ns == measured.busy_ns == 4000 * MS
    assert len(step.runs) == 500 + FIRST_CALLS
    assert measured.first_token_ns == 10 * MS


def test_paced_waits_for_the_camera() -> None:
    measured, _ = run(Pace(40.0))
    assert len(measured.latency_ns[0]) == 40 and set(measured.latency_ns[0]) == {10 * MS}
    assert measured.frames == 160 and measured.elapsed_ns == 4000 * MS
    assert measured.busy_ns == 400 * MS
    gaps = {b - a for a, b in zip(measured.ready_ns[0], measured.ready_ns[0][1:], strict=False)}
    assert gaps == {100 * MS}, "four frames at 40 a second"


def test_one_slow_call_is_felt_by_all_that_wait_behind_it() -> None:
    """A call of 350 ms where a chunk comes every 100: the next two are late as well."""
    measured, _ = run(Pace(40.0), took_ms=lambda call: 350.0 if call == FIRST_CALLS + 20 else 10.0)
    late = [round(value / MS) for value in measured.latency_ns[0] if value > 10 * MS]
    assert late == [350, 260, 170, 80]
    found = latency_of(measured.latency_ns, 100.0)
    assert (found.misses, found.longest_run) == (3, 3)
    assert measured.most_waiting > 0 and measured.waiting_at_end == 0


def test_too_slow_with_every_frame_kept_gets_later_and_later() -> None:
    measured, _ = run(Pace(40.0), took_ms=lambda call: 120.0)
    values = measured.latency_ns[0]
    assert values == sorted(values) and values[-1] > 800 * MS
    assert measured.unfinished == 0 and measured.waiting_at_end > 20


def test_what_was_given_up_counts_as_late_as_it_was() -> None:
    """Leaving it out would make a run look better, the worse it went."""
    measured, _ = run(Pace(40.0), took_ms=lambda call: 1000.0)
    assert measured.unfinished > 0
    assert len(measured.latency_ns[0]) == 40, "a latent for every four frames of the measured part"
    assert latency_of(measured.latency_ns, 100.0).misses == 40


def test_pictures_that_were_given_up_count_too() -> None:
    """Else the table of decoded frames would be of those that survived."""
    measured, _ = run(Pace(40.0), took_ms=lambda call: 600.0, decode_ms=400.0)
    assert measured.unfinished > 0
    assert len(measured.picture_latency_ns[0]) == 160, "each frame of the measured part"
    assert latency_of(measured.picture_latency_ns, 100.0).misses == 160
    kept, _ = run(Pace(40.0), decode_ms=10.0)
    assert len(kept.picture_latency_ns[0]) < 160, "those that a stream in time still holds back"


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("chunk", [1, 2])
def test_the_deadline_of_pictures_allows_for_what_they_wait_by_design(
    chunk: int, version: str
) -> None:
    """A chunk takes 1 ms less, or 1 ms more, than the camera takes to fill the next."""
    for spare_ms, in_time in ((1.0, True), (-1.0, False)):
        measured, _ = run(
            Pace(40.0),
            took_ms=lambda call: 80.0,
            decode_ms=100.0 * chunk - 80.0 - spare_ms,
            seconds=2.0,
            chunk=chunk,
            version=version,
        )
        manifest = fake_manifest(chunk=chunk, version=version)  # type: ignore[arg-type]
        turn = Turn(
            started=0.0,
            backend="",
            fell_back="",
            graphs=[],
            start_up=StartUp(process_ms=0, load_ms=0, open_ms=0, first_token_ms=0),
            measured=measured,
            peak_device_mb=None,
        )
        entry = Entry(Candidate("/a", "cpu", "fp32"), manifest, [turn])
        figures = figures_of(entry, Settings(Pace(40.0), decode=True))
        assert figures.pictures is not None
        assert (figures.pictures.misses == 0) == in_time
        assert chunk > 1 or figures.keeps_up == in_time


def test_too_slow_with_dropping_stays_bounded() -> None:
    measured, _ = run(Pace(40.0, "drop-oldest", 4), took_ms=lambda call: 120.0)
    assert max(measured.latency_ns[0]) < 300 * MS and measured.dropped > 0
    assert measured.most_waiting <= 4


def test_time_is_put_down_to_its_part() -> None:
    measured, _ = run(Pace(None), overhead_ms=0.5)
    calls = measured.encoder
    assert set(calls.upload_ns) == {1 * MS} and set(calls.compute_ns) == {7 * MS}
    assert set(calls.download_ns) == {2 * MS} and set(calls.overhead_ns) == {MS // 2}


def test_pictures_count_from_the_release_of_their_own_frame() -> None:
    measured, _ = run(Pace(40.0), decode_ms=20.0, version="1.0")
    # Of a latent's four frames the first was released 75 ms before the last.
    assert {round(v / MS) for v in measured.picture_latency_ns[0]} == {105, 80, 55, 30}
    assert len(measured.decoder.compute_ns) == len(measured.latency_ns[0])
    assert set(measured.latency_ns[0]) == {10 * MS}, "tokens do not wait for the decoder"


def test_slots_step_together_and_keep_their_books() -> None:
    measured, step = run(Pace(40.0), streams=3)
    assert [len(slot) for slot in measured.latency_ns] == [40, 40, 40]
    assert step.runs[:2] == [[0], [1, 2]], "slot 0 came first, and knew of no other"
    assert all(runs == [0, 1, 2] for runs in step.runs[2:])
    assert measured.frames == 480 and len(measured.encoder.compute_ns) == 40


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_no_slot_is_decoded_a_latent_behind_the_others(version: str) -> None:
    """Slot 0 comes first, alone; the decoder would wait for its next latent with that of slot 1."""
    measured, _ = run(Pace(40.0), streams=3, decode_ms=20.0, version=version)
    assert len({tuple(slot) for slot in measured.picture_latency_ns}) == 1
    assert len(measured.decoder.compute_ns) == 40, "and one call does for all"


@pytest.mark.parametrize("options", [{"chunk": 2}, {"causal": False, "chunk": 4}])
def test_latents_of_one_call_count_from_their_own_last_frames(options: dict[str, Any]) -> None:
    measured, _ = run(Pace(40.0), **options)
    behind = {round(value / MS) for value in measured.latency_ns[0]}
    assert behind == {10 + 100 * place for place in range(options["chunk"])}
