"""Which kind of source a name means; the one place that chooses."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Literal

from vidtok_edge.errors import SourceError, UsageError
from vidtok_edge.runtime.sources.frame import DEVICES, Fit, RawFormat, Source, without_password

__all__ = ["SourceKind", "open_source", "source_kind"]

SourceKind = Literal["video", "images", "camera", "raw", "synthetic"]

_SCHEMES = ("rtsp", "rtsps", "rtp", "srt", "udp", "tcp", "http", "https")


def open_source(
    spec: str,
    size: tuple[int, int],
    *,
    fit: Fit = "crop",
    realtime: bool = False,
    raw: RawFormat | None = None,
    fps: float | None = None,
) -> Source:
    """Open what `spec` names.

    Args:
        spec: a video file; a folder of images; `rtsp://...`; `/dev/video0`, `/dev/v4l/by-id/...`;
            `-` for raw RGB frames or Y4M from standard input, or a named pipe with such;
            `synthetic` or `synthetic:30`, a moving test picture.
        size: (H, W) of the frames to give.
        fit: how frames of another size are brought to it.
        realtime: hold frames of files and pipes back to their own rate.
        raw: the size of raw frames; `size` where None.
        fps: the rate of images or raw frames; of a video file: sample it at about this rate.

    Raises:
        SourceError: it cannot be opened.
        UsageError: arguments that do not fit this kind of source.
        MissingDependency: PyAV or Pillow is needed and not installed.
    """
    kind = source_kind(spec)
    if fps is not None and not 1e-3 <= fps <= 1e6:
        raise UsageError(f"fps is {fps:g}; allowed: 0.001 to 1000000.")
    if fps is not None and kind in ("camera", "synthetic"):
        raise UsageError(f"{without_password(spec)} has a rate of its own: leave --fps out.")
    if kind == "raw":
        from vidtok_edge.runtime.sources.raw_pipe import RawPipeSource

        return RawPipeSource(spec, size, raw=raw, fit=fit, fps=fps, realtime=realtime)
    if kind == "synthetic":
        from vidtok_edge.runtime.sources.synthetic import SyntheticSource

        return SyntheticSource(size, _synthetic_fps(spec))
    if kind == "camera":
        from vidtok_edge.runtime.sources.camera import CameraSource

        return CameraSource(spec, size, fit=fit)
    if kind == "images":
        from vidtok_edge.runtime.sources.image_folder import ImageFolderSource

        return ImageFolderSource(spec, size, fps=fps, fit=fit, realtime=realtime)
    from vidtok_edge.runtime.sources.video_file import VideoFileSource

    return VideoFileSource(spec, size, fit=fit, realtime=realtime, fps=fps)


def source_kind(spec: str) -> SourceKind:
    """The kind of source, from its name and what lies there.

    >>> [source_kind(s) for s in ("-", "synthetic:30", "rtsp://10.0.0.2/live", "/dev/video0")]
    ['raw', 'synthetic', 'camera', 'camera']
    """
    if spec == "-":
        return "raw"
    if spec == "synthetic" or spec.startswith("synthetic:"):
        return "synthetic"
    if spec.startswith(DEVICES):
        return "camera"
    if "://" in spec:
        return _url_kind(spec)
    return _path_kind(spec)


def _url_kind(spec: str) -> SourceKind:
    scheme = spec.partition("://")[0].lower()
    if scheme not in _SCHEMES:
        raise SourceError(
            f"{without_password(spec)}: there is no source {scheme}://. Allowed: "
            f"{', '.join(s + '://' for s in _SCHEMES)}; a file is named by its path."
        )
    return "camera"


def _path_kind(spec: str) -> SourceKind:
    try:
        mode = Path(spec).stat().st_mode
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise SourceError(
            f"{spec} cannot be opened: {why}. Name a video file, a folder of images, a camera "
            "(rtsp://..., /dev/video0), - for standard input, or synthetic:30."
        ) from error
    if stat.S_ISDIR(mode):
        return "images"
    return "raw" if stat.S_ISFIFO(mode) else "video"


def _synthetic_fps(spec: str) -> float | None:
    text = spec.partition(":")[2]
    try:
        return float(text) if text else None
    except ValueError:
        raise UsageError(
            f"{spec!r}: write synthetic, or synthetic:30 for 30 frames per second."
        ) from None
