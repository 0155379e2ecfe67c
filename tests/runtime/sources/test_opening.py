"""Which source a name means, and what is refused."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from clips import make_clip

from vidtok_edge.errors import SourceError, UsageError
from vidtok_edge.runtime.sources import open_source
from vidtok_edge.runtime.sources.opening import source_kind

SIZE = (32, 48)


def test_kinds(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    clip = make_clip(tmp_path / "clip.mp4", 3)
    names = ["-", "synthetic", "synthetic:5", "rtsp://h/1", "v4l2:/dev/x", "/dev/video2"]
    names += ["/dev/v4l/by-id/usb-camera"]
    names += [str(tmp_path), str(tmp_path / "pipe"), str(clip)]
    assert [source_kind(name) for name in names] == [
        "raw",
        "synthetic",
        "synthetic",
        *4 * ["camera"],
        "images",
        "raw",
        "video",
    ]


def test_opening_each(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (48, 32)).save(tmp_path / "1.png")
    os.mkfifo(tmp_path / "pipe")
    clip = make_clip(tmp_path / "clip.mp4", 3, fps=25)
    for spec, fps in ((tmp_path, None), (tmp_path / "pipe", None), (clip, 25), ("synthetic:7", 7)):
        source = open_source(str(spec), SIZE)
        assert (source.name, source.fps, source.live) == (str(spec), fps, False)
        source.close()


@pytest.mark.parametrize(
    ("spec", "options", "error", "message"),
    [
        ("nothing.mp4", {}, SourceError, "No such file.*a camera"),
        ("file:///etc/passwd", {}, SourceError, "no source file://.*named by its path"),
        ("gopher://me:secret@host", {}, SourceError, "^gopher://host: there is no"),
        ("synthetic:fast", {}, UsageError, "synthetic:30"),
        ("synthetic:30", {"fps": 5.0}, UsageError, "rate of its own"),
        ("rtsp://me:secret@host", {"fps": 5.0}, UsageError, "^rtsp://host has a rate of its own"),
        ("-", {"fps": 0.0}, UsageError, "allowed: 0.001"),
        ("/dev/video99", {}, SourceError, "video99 cannot be opened"),
    ],
)
def test_what_is_refused(
    spec: str, options: dict[str, float], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        open_source(spec, SIZE, fps=options.get("fps"))


def test_the_test_picture_and_pipes_need_no_video_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("av", "PIL"):
        monkeypatch.setitem(sys.modules, name, None)
    for spec in ("synthetic:30", str(tmp_path / "pipe")):
        open_source(spec, SIZE).close()
