"""A video container opened for reading, whichever PyAV is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from vidtok_edge.errors import MissingDependency

try:
    import av
except ImportError:
    raise MissingDependency("av", "video", "Reading a clip or a camera") from None

from av.container import InputContainer

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Readable", "open_container"]

# A title that is no UTF-8 must not stop a clip from being read. Before PyAV 19 the default was to
# raise; PyAV 19 has no such argument, and keeps the bytes as surrogates.
_LENIENT: dict[str, Any] = (
    {"metadata_errors": "replace"} if hasattr(InputContainer, "metadata_errors") else {}
)
# Else what a coded picture has left of the part to show stays, where that is fewer pixels than
# registers of the CPU take: the pictures are shifted, and wider than their header says.
_CROPPING = {"flags": "+unaligned"}


class Readable(Protocol):
    """What gives bytes when it is asked."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end."""


def open_container(
    file: str | Readable,
    *,
    format: str | None = None,
    options: Mapping[str, str] | None = None,
    timeout: tuple[float, float] | None = None,
    most_pixels: int | None = None,
    streams_in_header: bool = False,
) -> InputContainer:
    """The container that FFmpeg reads from `file`; whoever opens it closes it.

    Args:
        file: what FFmpeg takes: `file:...`, an URL, a device; or an object to read from.
        format: its demuxer; None to detect it.
        options: of the protocol and the demuxer.
        timeout: seconds for opening and for each read; None to wait without end.
        most_pixels: of a frame; a larger one is an error of decoding, whatever the header says.
        streams_in_header: no stream turns up behind the header. `most_pixels` then holds also for
            frames that are decoded to find out what the streams are; else PyAV 17 to 19 would write
            behind its list of options, which has the length that the header gave.

    Raises:
        av.FFmpegError, OSError, ValueError: as PyAV raises them.
    """
    source: Any = file
    limits = {} if most_pixels is None else {"max_pixels": str(most_pixels)}
    container: InputContainer = av.open(
        source,
        mode="r",
        format=format,
        options=limits if streams_in_header else {},
        container_options=dict(options or {}),
        timeout=timeout,
        **_LENIENT,
    )
    for stream in container.streams.video:
        if stream.codec_context is not None:
            stream.codec_context.options = {**stream.codec_context.options, **limits, **_CROPPING}
    return container
