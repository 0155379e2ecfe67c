"""`record --check`, before a drive: what would make a recording suffer, and what mends it."""

from __future__ import annotations

import ctypes
import os
import shlex
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vidtok_edge.errors import VidTokEdgeError
from vidtok_edge.runtime.bench.meters.checks import Check, check_machine
from vidtok_edge.runtime.sources.frame import Source, without_password

if TYPE_CHECKING:
    from vidtok_edge.runtime.session.request import RecordRequest

__all__ = ["preflight"]

_DISK_BYTES = 16 << 20
_DISK_PIECE = 1 << 20
_LEAST_MB_S = 5.0
"""A thousand times what the tokens of a camera take; a card in trouble gives less."""
_RATE_SHARE = 0.9  # of the announced rate
_STEP_SHARE = 0.9  # of the time between two latents
_STEPS = 8
_CAMERA_S = 2.0
_TIME_ERROR = 5
"""What adjtimex(2) gives where nothing keeps the clock right, neither NTP nor PTP."""


def preflight(
    request: RecordRequest,
    *,
    camera_s: float = _CAMERA_S,
    told: Callable[[str], None] = lambda what: None,
) -> Iterator[Check]:
    """Each check as it is done; nothing of a recording is written.

    Args:
        camera_s: how long each camera is watched.
        told: what is looked at next.

    Raises:
        As `RecordRequest.check`; what opening the encoder raises.
    """
    request.check()
    folder = request.output.resolve().parent
    told("the machine")
    yield from check_machine(folder)
    told("the disk")
    yield _disk(folder, request.options.flush_interval_s)
    yield _clock()
    rates = []
    for spec in request.sources:
        told(without_password(spec))
        check, fps = _camera(request, spec, camera_s)
        rates.append(fps)
        yield check
    told("the encoder")
    yield from _encoder(request, [fps for fps in rates if fps])


def _disk(folder: Path, flush_interval_s: float) -> Check:
    """What the disk of the recording takes, each piece synchronised as a recording is."""
    found, ok = "", False
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".vidtok-edge-check-") as file:
            piece, longest, begin = os.urandom(_DISK_PIECE), 0.0, time.perf_counter()
            for _ in range(_DISK_BYTES // _DISK_PIECE):
                at = time.perf_counter()
                file.write(piece)
                file.flush()
                os.fsync(file.fileno())
                longest = max(longest, time.perf_counter() - at)
            rate = _DISK_BYTES / 1e6 / (time.perf_counter() - begin)
        found = f"{rate:.0f} MB/s, at most {longest * 1e3:.0f} ms to synchronise 1 MB"
        ok = rate >= _LEAST_MB_S and longest < flush_interval_s
    except OSError as error:
        found = f"{folder}: {error.strerror}"
    return Check(
        name="disk speed",
        found=found,
        expected=f"{_LEAST_MB_S:.0f} MB/s, and less than {flush_interval_s:g} s to synchronise",
        remedy="record to another disk, or allow more to be lost with --flush-interval",
        as_expected=ok,
    )


def _clock() -> Check:
    """Whether the wall clock follows another one, whoever sees to it, as far as Linux says."""
    state = _clock_state()
    found = "" if state < 0 else "not synchronised" if state == _TIME_ERROR else "synchronised"
    return Check(
        name="wall clock",
        found=found,
        expected="synchronised",
        remedy="sudo timedatectl set-ntp true, or chrony; bags of other machines are joined by it",
        as_expected=found == "synchronised",
    )


def _clock_state() -> int:
    """What adjtimex(2) gives, asked to change nothing; below 0: there is none, or it may not."""
    adjtimex = getattr(ctypes.CDLL(None), "adjtimex", None)
    if adjtimex is None:
        return -1
    state: int = adjtimex(ctypes.create_string_buffer(1024))  # a struct timex, and room to spare
    return state


def _camera(request: RecordRequest, spec: str, seconds: float) -> tuple[Check, float | None]:
    """Whether a source opens and gives its frames at the rate that it announces, and that rate."""
    name = without_password(spec)
    remedy = "look at its cable, its mode and its exposure, and at who else has it open"
    try:
        source = request.opener(spec)
    except VidTokEdgeError as error:
        return _broken(name, str(error), remedy), None
    try:
        count, took_s = _watched(source, seconds)
    except VidTokEdgeError as error:
        return _broken(name, str(error), remedy), source.fps
    finally:
        source.close()
    if not source.live:
        check = Check(
            name=name,
            found=f"{count} frames",
            expected="a frame",
            remedy="name another file, or see what writes to the pipe",
            as_expected=count > 0,
        )
        return check, source.fps
    measured = (count - 1) / took_s if count > 1 else 0.0
    announced = source.fps
    return (
        Check(
            name=name,
            found=f"{measured:.1f} frames/s",
            expected="frames" if announced is None else f"{announced:g} frames/s, as it announces",
            remedy=remedy,
            as_expected=count > 1 and (announced is None or measured >= _RATE_SHARE * announced),
        ),
        announced or measured or None,
    )


def _broken(name: str, said: str, remedy: str) -> Check:
    return Check(name=name, found=said, expected="it opens", remedy=remedy, as_expected=False)


def _watched(source: Source, seconds: float) -> tuple[int, float]:
    """How many frames came in a time, and from the first to the last of them."""
    first = last = 0
    count = 0
    end = time.monotonic() + seconds
    for frame in source:
        first = first or frame.capture_time_ns
        last, count = frame.capture_time_ns, count + 1
        if time.monotonic() >= end or not source.live:
            break
    return count, (last - first) / 1e9


def _encoder(request: RecordRequest, rates: list[float]) -> Iterator[Check]:
    """Whether what will run is proven, and keeps up with all cameras."""
    manifest = request.bundle.manifest
    frame = np.zeros((manifest.height, manifest.width, 3), np.uint8)
    with request.bundle.encoder(
        request.backend, precision=request.precision, threads=request.threads
    ) as encoder:
        proof = encoder.proof
        yield Check(
            name="encoder",
            found=f"{encoder.backend.active}: {proof}",
            expected="proven on this machine",
            remedy=f"vidtok-edge prove {shlex.quote(str(request.bundle.path))}",
            as_expected=bool(proof),
        )
        warm_calls, warm_ns = 0, 0
        for number in range(_STEPS + 1):
            for slot in range(len(request.sources)):
                for _ in range(manifest.chunk_frames):
                    encoder.push(frame, slot=slot)
            encoder.run_pending()
            if not number:  # the first call of a graph allocates
                warm_calls, warm_ns = encoder.calls, encoder.step_times.total_ns
        step_ns = (encoder.step_times.total_ns - warm_ns) / max(1, encoder.calls - warm_calls)
    yield _step(step_ns / 1e6, manifest.chunk_frames, rates)


def _step(step_ms: float, chunk_frames: int, rates: list[float]) -> Check:
    """Whether a call of all cameras ends before the fastest of them has its next chunk."""
    between_ms = chunk_frames / max(rates) * 1e3 if rates else None
    return Check(
        name="encoding",
        found=f"{step_ms:.1f} ms for the next latent of all cameras",
        expected="" if between_ms is None else f"{_STEP_SHARE * between_ms:.1f} ms at most",
        remedy="take another precision, a smaller bundle, fewer frames, or a GPU (docs/boards.md)",
        as_expected=between_ms is None or step_ms <= _STEP_SHARE * between_ms,
    )
