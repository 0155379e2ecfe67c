"""A recording while it is written: what is safe when, and every way in which the disk fails."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import resource
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
import tracemalloc
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from recordings import FSQ, KL, PER_LATENT, SECOND, WALL, latents, record, values_of, write

from vidtok_edge.errors import (
    OutputExists,
    OutputNotWritable,
    RecordingBusy,
    UsageError,
)
from vidtok_edge.runtime.recording import RecordingWriter, Tokenizer
from vidtok_edge.runtime.recording.format.mcap_file import Compression
from vidtok_edge.runtime.recording.format.reader import Recording
from vidtok_edge.runtime.streaming.records import LatentRecord, Marker, Record, SourceRecords


def entries(path: Path, source: int | None = None) -> list[Record]:
    with Recording.open(path) as recording:
        return list(recording.entries(source))


@pytest.mark.parametrize("tokenizer", [FSQ, KL])
def test_what_was_written_is_read(tmp_path: Path, tokenizer: Tokenizer) -> None:
    found = entries(record(tmp_path / "a.mcap", 7, tokenizer=tokenizer), 1)
    kinds = [entry.kind for entry in found if isinstance(entry, Marker)]
    got = [entry for entry in found if isinstance(entry, LatentRecord)]
    assert kinds == ["start", "end"] and [latent.index for latent in got] == list(range(7))
    for i, latent in enumerate(got):
        np.testing.assert_array_equal(latent.values, values_of(1, i, tokenizer))
        assert latent.capture_time_ns == i * PER_LATENT
        assert latent.wall_time_ns == WALL + i * PER_LATENT
        assert latent.encode_end_ns - latent.encode_start_ns == 5


def test_latents_of_one_call_are_numbered_and_the_tail_is_counted(tmp_path: Path) -> None:
    camera = SourceRecords(0)
    with RecordingWriter(tmp_path / "a.mcap", FSQ, ["file.mp4"]) as writer:
        writer.take(camera.start("start", 0, WALL))
        write(writer, camera, latents(0, 0, count=3))
        write(writer, camera, latents(0, 3, count=2, last=1))
    got = [e for e in entries(tmp_path / "a.mcap") if isinstance(e, LatentRecord)]
    assert [(e.index, e.first_frame, e.frames_real) for e in got] == [
        (0, 0, 1),
        (1, 1, 4),
        (2, 5, 4),
        (3, 9, 4),
        (4, 13, 1),
    ]


def test_markers_say_what_happened(tmp_path: Path) -> None:
    camera = SourceRecords(0)
    with RecordingWriter(tmp_path / "a.mcap", FSQ, ["cam"]) as writer:
        writer.take(camera.start("start", 0, WALL))
        write(writer, camera, latents(0, 0))
        writer.take(camera.drop(12, "restart", 5, WALL))
        writer.take(camera.start("restart", 6, WALL))
        writer.take(camera.lost("no frame for 2 s", 7, WALL))
        writer.take(camera.start("reconnect", 8, WALL, fps=25.0))
        writer.take(camera.end("stopped", 9, WALL))
    markers = [e for e in entries(tmp_path / "a.mcap") if isinstance(e, Marker)]
    assert [(m.kind, m.stream, m.index, m.frames, m.detail, m.fps) for m in markers] == [
        ("start", 0, 0, 0, "", 0),
        ("drop", 0, 1, 12, "restart", 0),
        ("restart", 1, 0, 0, "", 0),
        ("lost", 1, 0, 0, "no frame for 2 s", 0),
        ("reconnect", 2, 0, 0, "", 25),
        ("end", 2, 0, 0, "stopped", 0),
    ]
    assert [m.latents for m in markers] == [0, 1, 1, 1, 1, 1]


def test_a_wall_clock_that_jumps_back_leaves_time_in_order(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    camera = SourceRecords(0)
    with RecordingWriter(path, FSQ, ["cam"], flush_interval_s=1000) as writer:
        writer.take(camera.start("start", 0, WALL))
        for i in range(40):
            jump = -3600 * SECOND if i >= 20 else 0
            write(writer, camera, latents(0, i, wall_jump_ns=jump))
            writer.flush()
    with Recording.open(path) as recording:
        assert recording.indexed
        assert (recording.start_ns, recording.end_ns) == (WALL, WALL + 39 * PER_LATENT)
        part = recording.entries(0, start_ns=WALL + 2 * SECOND, end_ns=WALL + 3 * SECOND)
        got = [entry for entry in part if isinstance(entry, LatentRecord)]
    assert [latent.index for latent in got] == list(range(20, 30))
    assert got[0].wall_time_ns == WALL + 2 * SECOND - 3600 * SECOND


def test_what_waits_is_on_disk_when_the_interval_has_passed(tmp_path: Path) -> None:
    """By `tick` alone, at every quarter of the interval: a stalled camera must not hold it back."""
    path = tmp_path / "a.mcap"
    camera = SourceRecords(0)
    with RecordingWriter(path, FSQ, ["cam"], flush_interval_s=100) as writer:
        now = time.monotonic_ns()
        writer.take(camera.start("start", 0, WALL))
        write(writer, camera, latents(0, 0))
        assert entries(path) == []
        writer.tick(now + 54 * SECOND, 20 * SECOND)
        assert entries(path) == []
        writer.tick(now + 74 * SECOND)
        assert entries(path) == []
        writer.tick(now + 99 * SECOND)
        assert len(entries(path)) == 2
        with Recording.open(path) as recording:
            assert not recording.indexed


def test_a_step_that_takes_long_is_flushed_before(tmp_path: Path) -> None:
    """No tick comes while it runs."""
    path = tmp_path / "a.mcap"
    camera = SourceRecords(0)
    with RecordingWriter(path, FSQ, ["cam"], flush_interval_s=100) as writer:
        writer.take(camera.start("start", 0, WALL))
        writer.tick(time.monotonic_ns(), 76 * SECOND)
        assert len(entries(path)) == 1


def test_an_existing_file_is_kept_unless_it_may_go(tmp_path: Path) -> None:
    path = record(tmp_path / "a.mcap", 3)
    before = path.read_bytes()
    with pytest.raises(OutputExists):
        RecordingWriter(path, FSQ, ["cam"])
    assert path.read_bytes() == before
    record(path, 2, sources=1, force=True)
    assert len(entries(path)) == 4


@pytest.mark.parametrize("place", ["missing/a.mcap", ".", "/dev/null"])
def test_a_place_that_cannot_hold_a_recording_is_refused(tmp_path: Path, place: str) -> None:
    with pytest.raises((OutputNotWritable, UsageError)):
        RecordingWriter(tmp_path / place, FSQ, ["cam"], force=True)


def test_the_second_process_on_a_file_is_refused(tmp_path: Path) -> None:
    """Also with --force, and while the first one goes on."""
    path = tmp_path / "a.mcap"
    code = (
        "import sys; from recordings import FSQ\n"
        "from vidtok_edge.runtime.recording import RecordingWriter\n"
        f"RecordingWriter({str(path)!r}, FSQ, ['cam'], force=True)"
    )
    camera = SourceRecords(0)
    with RecordingWriter(path, FSQ, ["cam"]) as writer:
        writer.take(camera.start("start", 0, WALL))
        writer.flush()
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=environment
        )
        assert "RecordingBusy" in done.stderr and "another process" in done.stderr
        with pytest.raises(RecordingBusy):
            RecordingWriter(path, FSQ, ["cam"])
        write(writer, camera, latents(0, 0))
    assert len(entries(path)) == 2
    RecordingWriter(path, FSQ, ["cam"], force=True).close()


def test_a_full_disk_leaves_what_was_flushed(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    camera = SourceRecords(0)
    with RecordingWriter(path, FSQ, ["cam"], flush_interval_s=1000) as writer:
        writer.take(camera.start("start", 0, WALL))
        write(writer, camera, latents(0, 0))
        writer.flush()
        safe = path.read_bytes()
        write(writer, camera, latents(0, 1, count=50))
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(safe) + 1000, limits[1]))
        try:
            with pytest.raises(OutputNotWritable, match=f"first {len(safe)} bytes are safe"):
                writer.flush()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, before)
        assert path.read_bytes() == safe  # half a chunk was written, and taken back
        with pytest.raises(OutputNotWritable):
            write(writer, camera, latents(0, 51))
    assert path.read_bytes() == safe and len(entries(path)) == 2


@pytest.mark.parametrize("fails", ["locks", "head", "records", "end"])
def test_a_file_in_which_nothing_was_recorded_is_not_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    def full(*given: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "a.mcap"
    if fails == "locks":
        monkeypatch.setattr(fcntl, "flock", full)
    if fails == "head":
        monkeypatch.setattr(os, "pwrite", full)
    with (
        pytest.raises(OutputNotWritable, match="cannot be written: No space left on device"),
        RecordingWriter(path, FSQ, ["cam"], flush_interval_s=1000) as writer,
    ):
        assert path.stat().st_size
        monkeypatch.setattr(os, "pwrite", full)
        writer.take(SourceRecords(0).start("start", 0, WALL))
        if fails == "records":
            writer.flush()
    assert not list(tmp_path.iterdir())


def test_a_slow_disk_holds_up_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, free = tmp_path / "a.mcap", threading.Event()
    calls: list[int] = []

    def fsync(fd: int) -> None:
        calls.append(path.stat().st_size)
        assert free.wait(10)

    camera = SourceRecords(0)
    with RecordingWriter(path, FSQ, ["cam"], flush_interval_s=1000) as writer:
        writer.take(camera.start("start", 0, WALL))
        monkeypatch.setattr(os, "fsync", fsync)
        for i in range(5):
            write(writer, camera, latents(0, i))
            writer.flush()
        assert len(entries(path)) == 6, "a reader, or a kill, finds all of it"
        free.set()
    assert calls[-1] == path.stat().st_size, "closing waits for the disk to have everything"


@pytest.mark.parametrize("when", ["running", "closing"])
def test_a_disk_that_fails_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    def fsync(fd: int) -> None:
        raise OSError(errno.EIO, "broken")

    camera = SourceRecords(0)
    with (
        pytest.raises(OutputNotWritable, match=r"did not take .*a\.mcap: Input/output error"),
        RecordingWriter(tmp_path / "a.mcap", FSQ, ["cam"], flush_interval_s=1000) as writer,
    ):
        writer.take(camera.start("start", 0, WALL))
        monkeypatch.setattr(os, "fsync", fsync)
        for _ in range(1000 if when == "running" else 0):
            writer.flush()
            time.sleep(0.01)


def test_a_removed_folder_is_noticed(tmp_path: Path) -> None:
    folder = tmp_path / "drive"
    folder.mkdir()
    camera = SourceRecords(0)
    with RecordingWriter(folder / "a.mcap", FSQ, ["cam"]) as writer:
        writer.take(camera.start("start", 0, WALL))
        writer.flush()
        shutil.rmtree(folder)
        write(writer, camera, latents(0, 0))
        with pytest.raises(OutputNotWritable, match="removed while it was written"):
            writer.flush()


def test_an_error_in_the_block_still_finishes_the_file(tmp_path: Path) -> None:
    camera = SourceRecords(0)
    with (
        pytest.raises(KeyboardInterrupt),
        RecordingWriter(tmp_path / "a.mcap", FSQ, ["cam"]) as writer,
    ):
        writer.take(camera.start("start", 0, WALL))
        raise KeyboardInterrupt
    with Recording.open(tmp_path / "a.mcap") as recording:
        assert recording.indexed and len(list(recording.entries())) == 1
    with pytest.raises(UsageError, match="closed"):
        writer.take(camera.end("late", 0, WALL))


INTERVAL_NS = SECOND // 50
_PROGRESS = struct.Struct("<qqq")  # longest time between two ticks, last tick, time since the first


def _record_until_killed(path: Path, shared: mmap.mmap) -> None:
    """Latents as they come, of which nothing but `tick` writes any to the file."""
    cameras = [SourceRecords(source) for source in range(2)]
    with RecordingWriter(path, FSQ, ["a", "b"], flush_interval_s=INTERVAL_NS / SECOND) as writer:
        begun_ns = before_ns = time.monotonic_ns()
        longest_ns = 0
        for source in range(2):
            writer.take(cameras[source].start("start", begun_ns, WALL + begun_ns))
        for i in range(1_000_000):
            captured_ns = time.monotonic_ns()
            for source in range(2):
                write(writer, cameras[source], latents(source, i, at_ns=captured_ns))
            writer.tick(time.monotonic_ns())
            now_ns = time.monotonic_ns()
            longest_ns, before_ns = max(longest_ns, now_ns - before_ns), now_ns
            _PROGRESS.pack_into(shared, 0, longest_ns, now_ns, now_ns - begun_ns)
            time.sleep(0.001)


@pytest.mark.slow
def test_kill_9_at_50_moments_loses_no_more_than_the_interval(tmp_path: Path) -> None:
    """Counted from the last tick, so that a machine with other things to do is no failure."""
    rng = np.random.default_rng(0)
    moments = []
    for attempt in range(50):
        path, shared = tmp_path / f"{attempt}.mcap", mmap.mmap(-1, _PROGRESS.size)
        with warnings.catch_warnings():  # Python 3.12 warns: BLAS has threads. The child has none.
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            try:
                _record_until_killed(path, shared)
            finally:
                os._exit(1)
        until = time.monotonic() + 30
        while _PROGRESS.unpack_from(shared)[2] < 2 * INTERVAL_NS and time.monotonic() < until:
            time.sleep(0.001)
        time.sleep(float(rng.uniform(0, INTERVAL_NS / SECOND)))
        os.kill(child, signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        longest_ns, ticked_ns, elapsed_ns = _PROGRESS.unpack_from(shared)
        allowed_ns = max(INTERVAL_NS, 0.75 * INTERVAL_NS + 3 * longest_ns)
        for source in range(2):
            got = [e for e in entries(path, source) if isinstance(e, LatentRecord)]
            assert [latent.index for latent in got] == list(range(len(got)))
            newest_ns = got[-1].capture_time_ns if got else ticked_ns - elapsed_ns
            assert ticked_ns - newest_ns <= allowed_ns
            for latent in got[-1:]:
                np.testing.assert_array_equal(latent.values, values_of(source, latent.index))
        moments.append(elapsed_ns)
        path.unlink()
    assert max(moments) - min(moments) > INTERVAL_NS / 2


def test_memory_of_hours_is_flat(tmp_path: Path) -> None:
    """Four cameras: only the index of chunks grows, by some 670 bytes for each.

    An hour at the default interval has 4800 chunks, one every 0.75 s, and 3.2 MB of that; here are
    400 chunks after a warm-up.
    """
    given = [latents(source, 0) for source in range(4)]
    cameras = [SourceRecords(source) for source in range(4)]
    with RecordingWriter(tmp_path / "a.mcap", FSQ, list("abcd"), flush_interval_s=1000) as writer:

        def second() -> None:
            for source in range(4):
                writer.take(cameras[source].start("key", 0, WALL))
                write(writer, cameras[source], given[source])
            writer.flush()

        for _ in range(20):
            second()
        tracemalloc.start()
        for _ in range(400):
            second()
        grown, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert grown < 400 * 1000


def test_one_flush_never_waits_for_more_than_8_mib(tmp_path: Path) -> None:
    large = replace(KL, height=512, width=512, grid_height=64, grid_width=64, z_channels=16)
    camera = SourceRecords(0)
    with RecordingWriter(
        tmp_path / "a.mcap", large, ["cam"], flush_interval_s=1000, compression="none"
    ) as writer:
        writer.take(camera.start("start", 0, WALL))
        for i in range(70):
            write(writer, camera, latents(0, i, tokenizer=large))
        assert writer.safe_bytes > 7 << 20


def test_compression_changes_the_size_alone(tmp_path: Path) -> None:
    """Tokens of a scene that stands still come again in each latent."""
    found: dict[str, list[tuple[int, bytes]]] = {}
    sizes, still = {}, values_of(0, 0, FSQ)[None]
    wanted: tuple[Compression, ...] = ("zstd", "lz4", "none")
    for compression in wanted:
        path, camera = tmp_path / f"{compression}.mcap", SourceRecords(0)
        with RecordingWriter(
            path, FSQ, ["cam"], flush_interval_s=1000, compression=compression
        ) as writer:
            writer.take(camera.start("start", 0, WALL))
            for i in range(30):
                write(writer, camera, replace(latents(0, i), tokens=still))
        with Recording.open(path) as recording:
            found[compression] = [
                (entry.index, entry.values.tobytes())
                for entry in recording.entries()
                if isinstance(entry, LatentRecord)
            ]
        sizes[compression] = path.stat().st_size
    assert found["zstd"] == found["lz4"] == found["none"] and len(found["none"]) == 30
    assert sizes["zstd"] < sizes["none"] and sizes["lz4"] < sizes["none"]
