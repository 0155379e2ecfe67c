"""A camera as a source: RTSP and other network streams, V4L2 devices. Through PyAV."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vidtok_edge.errors import MissingDependency, SourceError, SourceLost
from vidtok_edge.runtime.clips.container import open_container
from vidtok_edge.runtime.clips.frame_fitting import FrameFitting
from vidtok_edge.runtime.clips.mending import FrameMending
from vidtok_edge.runtime.clips.picture_bounds import most_pixels
from vidtok_edge.runtime.clips.scanning import pixel_aspect_of
from vidtok_edge.runtime.sources.clock import CLOCK, Clock
from vidtok_edge.runtime.sources.frame import Fit, Frame, without_password
from vidtok_edge.runtime.sources.reading import Reading

try:
    import av
except ImportError:
    raise MissingDependency("av", "video", "Reading a camera") from None

if TYPE_CHECKING:
    from av.container import InputContainer

__all__ = ["CameraSource", "CameraTimeouts"]

# A stream must not make us read local files: "file" is not among them.
_PROTOCOLS = "rtsp,rtsps,rtp,rtcp,srtp,srt,udp,tcp,tls,http,https,crypto,httpproxy"

Opener = Callable[[], "InputContainer"]


@dataclass(frozen=True, slots=True)
class CameraTimeouts:
    """Seconds until a silent camera is given up."""

    open_s: float = 10.0
    read_s: float = 5.0
    """Without a picture, whatever else it may send."""


class CameraSource(Reading):
    """A camera, from its opening until it is lost; it has no end.

    PyAV runs in a thread of its own, which is left behind when a driver hangs in it: V4L2 has no
    time-out for reading. While it hangs the camera is not opened again: the device would be busy,
    and a thread would be left behind each time. `capture_time_ns` is when a picture was decoded,
    not when it was exposed.

    Args:
        spec: `rtsp://...`, and others that FFmpeg reads; `/dev/video0` or `v4l2:/dev/video0`.
        size: (H, W) of the bundle; frames of another size are fitted.
        opener: what opens the container, instead of PyAV on `spec`.

    Raises:
        SourceError: it cannot be opened in time; while iterating: its frames change size.
        SourceLost: while iterating: it ended, failed, or gave no picture for `read_s`.
    """

    live = True

    def __init__(
        self,
        spec: str,
        size: tuple[int, int],
        *,
        fit: Fit = "crop",
        timeouts: CameraTimeouts | None = None,
        opener: Opener | None = None,
        clock: Clock = CLOCK,
    ) -> None:
        super().__init__(spec, None, clock)
        self._timeouts = timeouts or CameraTimeouts()
        self._fitting = FrameFitting(self.shown, size, fit, error=SourceError)
        self._mending: FrameMending | None = None
        self._about_file: str | None = None
        self._patched = 0  # pictures in which the decoder filled in what it could not read
        self._open = opener or (lambda: _opened(spec, self._timeouts))
        self._news: queue.Queue[Frame | Exception | None] = queue.Queue(1)
        _wait_for_closed(spec, self.shown, self._timeouts.open_s)
        thread = threading.Thread(target=self._work, name=f"camera {self.shown}", daemon=True)
        _LAST[spec] = thread, self._closed
        thread.start()
        try:
            opened = self._news.get(timeout=self._timeouts.open_s)
        except queue.Empty:
            self.close()
            raise SourceError(
                f"{self.shown} did not open within {self._timeouts.open_s:g} s. Is it connected?"
            ) from None
        if isinstance(opened, Exception):
            raise opened

    @property
    def doubts(self) -> tuple[str, ...]:
        """See `Source`."""
        found = [] if self._about_file is None else [self._about_file]
        found += [] if self._mending is None else list(self._mending.doubts)
        if self._patched:
            found.append(
                f"{self._patched} of its pictures were damaged in part and were used, with what "
                "the decoder filled in; so were those that build on them. Are packets lost?"
            )
        return tuple(found)

    def _read(self) -> Iterator[Frame]:
        while not self._closed.is_set():
            try:
                news = self._news.get(timeout=self._timeouts.read_s)
            except queue.Empty:
                raise SourceLost(_silent(self.shown, self._timeouts)) from None
            if isinstance(news, Exception):
                raise news
            if news is not None:
                yield news

    def close(self) -> None:
        """Stop the iteration at once; idempotent, and may be called from another thread."""
        super().close()
        with suppress(queue.Full):  # wake up who waits
            self._news.put_nowait(None)

    # -- in the thread that PyAV runs in

    def _work(self) -> None:
        try:
            container = self._open()
        except Exception as error:
            return self._tell(_not_opened(self.shown, error))
        try:
            self._about_file = _doubt_about_file(self.name, container)
            stream = _video_stream(container, self.shown)
            self.fps = float(stream.guessed_rate or stream.average_rate or 0) or None
            self._tell(None)
            for frame in self._frames(container, stream):
                self._tell(frame)
        except av.error.ExitError:  # FFmpeg's own time-out, which is as long as ours
            self._tell(SourceLost(_silent(self.shown, self._timeouts)))
        except (av.FFmpegError, OSError) as error:
            self._tell(SourceLost(f"{self.shown} failed: {_reason(error)}"))
        except Exception as error:  # a SourceError, or a mistake of ours, which is no loss
            self._tell(error)
        finally:
            container.close()

    def _frames(self, container: InputContainer, stream: Any) -> Iterator[Frame]:
        number, damaged, aspect = 0, 0, pixel_aspect_of(stream)
        self._mending = mending = FrameMending(stream, filters=False)
        for packet in container.demux(stream):
            if self._closed.is_set():
                return
            pictures = _decoded(packet)
            damaged += pictures is None and number > 0  # before, it may begin between two keys
            for picture in pictures or ():
                stamp = self._clock.stamp()
                mending.look(picture)
                self._patched += picture.is_corrupt
                yield Frame(self._fitting.from_video(picture, aspect), stamp, number, damaged)
                number, damaged = number + 1, 0
        raise SourceLost(f"{self.shown} ended its stream after {number} frames")

    def _tell(self, news: Frame | Exception | None) -> None:
        while not self._closed.is_set():
            with suppress(queue.Full):
                return self._news.put(news, timeout=0.1)


_LAST: dict[str, tuple[threading.Thread, threading.Event]] = {}
"""Of each camera, the thread that read it last, and whether it was told to end."""


def _wait_for_closed(spec: str, shown: str, patience_s: float) -> None:
    """Until a camera that was closed is let go of. SourceError: its thread hangs."""
    thread, closed = _LAST.get(spec, (None, None))
    if thread is not None and closed is not None and closed.is_set():
        thread.join(patience_s)
        if thread.is_alive():
            raise SourceError(
                f"{shown} still hangs in its driver, since it was last read. Plug it in again, or "
                "restart this program."
            )


def _opened(spec: str, timeouts: CameraTimeouts) -> InputContainer:
    device = spec.removeprefix("v4l2:") if spec.startswith(("/dev/", "v4l2:")) else None
    limits, most = (timeouts.open_s, timeouts.read_s), most_pixels(0)
    if device is not None:
        return open_container(device, format="v4l2", timeout=limits, most_pixels=most)
    # FFmpeg looks at a stream for up to 5 s before it gives a frame, and then gives them all at
    # once, stamped late. (`nobuffer` would throw the first key frame away.)
    options = {"protocol_whitelist": _PROTOCOLS, "analyzeduration": "1000000"}
    if spec.startswith("rtsp"):
        options["rtsp_transport"] = "tcp"  # over UDP one lost packet is a grey picture
    return open_container(spec, options=options, timeout=limits, most_pixels=most)


def _video_stream(container: InputContainer, shown: str) -> Any:
    for stream in container.streams.video:
        # Frame threads would hold back as many frames as there are threads.
        stream.thread_type = "SLICE"
        return stream
    raise SourceError(f"{shown} has no video stream. Name a camera that sends pictures.")


def _doubt_about_file(spec: str, container: InputContainer) -> str | None:
    """A sentence where a web server gives something that has an end."""
    if not spec.lower().startswith(("http://", "https://")):
        return None
    if (duration_s := (container.duration or 0) / 1e6) <= 0:
        return None
    return (
        f"it is a file of {duration_s:.1f} s, read as a camera is: as fast as it comes, without "
        "its own times, and again from its beginning at its end. Download it, and name the file"
    )


def _decoded(packet: Any) -> list[Any] | None:
    """The pictures of a packet; None where it is damaged: the next key frame heals that."""
    try:
        return list(packet.decode())
    except av.FFmpegError:
        return None


def _silent(shown: str, timeouts: CameraTimeouts) -> str:
    return f"{shown} gave no picture for {timeouts.read_s:g} s"


def _not_opened(shown: str, error: Exception) -> Exception:
    if isinstance(error, av.error.ExitError):
        return SourceError(f"{shown} cannot be opened: it does not answer. Is it connected?")
    if isinstance(error, av.FFmpegError | OSError | ValueError):
        return SourceError(
            f"{shown} cannot be opened: {_reason(error)}. Is it on, and the name right?"
        )
    return error


def _reason(error: Exception) -> str:
    return without_password(str(getattr(error, "strerror", None) or error))
