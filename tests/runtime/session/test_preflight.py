"""The checks before a drive: each finds what it is for, and nothing of a recording is written."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_sources import FakeSource

from vidtok_edge.errors import OutputExists, SourceError
from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.bench.meters.checks import Check
from vidtok_edge.runtime.session import preflight as module
from vidtok_edge.runtime.session.preflight import preflight
from vidtok_edge.runtime.session.request import RecordRequest
from vidtok_edge.runtime.sources.frame import Frame
from vidtok_edge.runtime.streaming.latents import Stamp


class Camera(FakeSource):
    """Announces a rate, and gives another."""

    def __init__(self, announced: float | None, given: float) -> None:
        super().__init__([], live=True, fps=announced)
        self._given = given

    def __iter__(self) -> Iterator[Frame]:
        pixels = np.zeros((16, 16, 3), np.uint8)
        for number in range(1000):
            time.sleep(1 / self._given)
            now = Stamp(capture_time_ns=time.monotonic_ns(), wall_time_ns=time.time_ns())
            yield Frame(pixels, now, number)


def checked(
    tiny: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, *sources: Any
) -> dict[str, Check]:
    """The checks by name, of cameras that are given; an error is raised when one is opened."""
    left = list(sources)

    def opener(self: RecordRequest, spec: str) -> Any:
        found = left.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(RecordRequest, "opener", opener)
    names = tuple(f"synthetic:{30 + n}" for n in range(len(sources)))
    request = RecordRequest(
        bundle=Bundle.load(tiny), sources=names, output=folder / "a.mcap", backend="cpu"
    )
    found = {check.name: check for check in preflight(request, camera_s=0.5)}
    assert not list(folder.iterdir()), "something was left"
    return found


@pytest.mark.parametrize(
    ("announced", "given", "good"), [(50, 50, True), (50, 20, False), (None, 20, True)]
)
def test_a_camera_is_held_to_its_announced_rate(
    tiny: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    announced: float | None,
    given: float,
    good: bool,
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    found = checked(tiny, folder, monkeypatch, Camera(announced, given))
    check = found["synthetic:30"]
    assert bool(check) is good and "frames/s" in check.found


def test_one_that_does_not_open_is_told_and_the_others_are_looked_at(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    broken = SourceError("/dev/video0 is busy.")
    found = checked(tiny, folder, monkeypatch, broken, FakeSource([1, 2, 3]))
    assert not found["synthetic:30"] and found["synthetic:30"].found == "/dev/video0 is busy."
    assert found["synthetic:31"].found == "1 frames"
    assert not found["encoder"], "the tiny bundle has no proof"
    assert found["encoding"] and "ms" in found["encoding"].expected


def test_a_camera_that_gives_nothing_fails(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    found = checked(tiny, folder, monkeypatch, FakeSource([], live=True))
    assert not found["synthetic:30"] and found["synthetic:30"].found == "0.0 frames/s"


def test_a_disk_that_takes_nothing_is_told(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    folder = tmp_path / "out"
    folder.mkdir()
    monkeypatch.setattr(os, "fsync", full)
    found = checked(tiny, folder, monkeypatch, FakeSource([1]))
    assert not found["disk speed"] and "No space left on device" in found["disk speed"].found


def test_a_step_that_is_too_slow_fails() -> None:
    slow, quick = (module._step(ms, 4, [10.0, 30.0]) for ms in (130.0, 100.0))
    assert not slow and quick and slow.expected == "120.0 ms at most"
    assert module._step(1e6, 4, []), "nothing is known of the rate"


def test_what_would_be_refused_is_refused_here(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "a.mcap").write_text("mine")
    request = RecordRequest(
        bundle=Bundle.load(tiny), sources=("synthetic:30",), output=tmp_path / "a.mcap"
    )
    with pytest.raises(OutputExists):
        next(iter(preflight(request)))


@pytest.mark.parametrize(
    ("state", "found", "good"),
    [(0, "synchronised", True), (5, "not synchronised", False), (-1, "", True)],
)
def test_the_wall_clock_is_as_the_kernel_says(
    monkeypatch: pytest.MonkeyPatch, state: int, found: str, good: bool
) -> None:
    assert module._clock_state() in range(-1, 6)  # of this machine, whatever it is
    monkeypatch.setattr(module, "_clock_state", lambda: state)
    check = module._clock()
    assert (check.found, bool(check)) == (found, good)
