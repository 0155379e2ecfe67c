"""Logs to the Rerun viewer: frames, reconstructions, latents as pictures, latency, notes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import rerun as rr
import rerun.blueprint as rrb

from vidtok_edge.runtime.files import write_beside
from vidtok_edge.runtime.viewing.shown import Shown, ShownFrame, ShownLatent, ShownNote
from vidtok_edge.runtime.viewing.target import ViewTarget
from vidtok_edge.runtime.viewing.token_picture import latent_picture

__all__ = ["RerunLog"]

_JPEG_QUALITY = 90  # a tenth of the bytes, over a network that the robot needs for other things


class RerunLog:
    """One view of some sources; of source i everything lies under `camera<i>/`.

    Logging waits where the viewer does not read. Not safe for use from several threads at once.
    """

    def __init__(self, stream: rr.RecordingStream, levels: Sequence[int]) -> None:
        self._stream, self._levels = stream, tuple(levels)

    @classmethod
    @contextmanager
    def open(
        cls,
        target: ViewTarget,
        names: Sequence[str],
        levels: Sequence[int],
        pictures: Sequence[str] = ("frame", "reconstruction", "tokens"),
        force: bool = False,
    ) -> Iterator[RerunLog]:
        """Begin a view; a file is whole, or not there, when the block ends.

        Args:
            names: of the sources.
            levels: of FSQ; empty for KL.
            pictures: what is laid out for each source.
        """
        stream = rr.RecordingStream("vidtok-edge")
        layout = _layout(names, pictures)
        try:
            if target.kind == "file":
                with write_beside(target.place, force) as place:
                    stream.save(place, default_blueprint=layout)
                    yield cls(stream, levels)
                    stream.disconnect()
            elif target.kind == "window":
                stream.spawn(default_blueprint=layout)
                yield cls(stream, levels)
            else:
                stream.connect_grpc(target.place, default_blueprint=layout)
                yield cls(stream, levels)
        finally:
            stream.disconnect()

    def show(self, what: Shown) -> None:
        """Log it at its time."""
        self._stream.set_time("captured", timestamp=np.datetime64(what.time_ns, "ns"))
        place = f"camera{what.source}"
        if isinstance(what, ShownFrame):
            self._log(f"{place}/{what.kind}", _jpeg(what))
        elif isinstance(what, ShownLatent):
            picture = latent_picture(what.values, self._levels)
            self._log(f"{place}/tokens", rr.Image(picture))
            self._log(f"{place}/latency_ms", rr.Scalars(what.latency_ms))
        elif isinstance(what, ShownNote):
            level = rr.TextLogLevel.WARN if what.warning else rr.TextLogLevel.INFO
            self._log(f"{place}/events", rr.TextLog(what.text, level=level))

    def _log(self, place: str, what: Any) -> None:
        self._stream.log(place, what)


def _jpeg(frame: ShownFrame) -> Any:
    return rr.Image(frame.pixels).compress(jpeg_quality=_JPEG_QUALITY)


def _layout(names: Sequence[str], pictures: Sequence[str]) -> rrb.Blueprint:
    rows = [
        rrb.Horizontal(
            *(
                rrb.Spatial2DView(origin=f"camera{number}/{what}", name=f"{name}: {what}")
                for what in pictures
            )
        )
        for number, name in enumerate(names)
    ]
    below = rrb.Horizontal(
        rrb.TimeSeriesView(
            contents=[f"camera{number}/latency_ms" for number in range(len(names))],
            name="latency, ms",
        ),
        rrb.TextLogView(origin="/", name="events"),
    )
    return rrb.Blueprint(rrb.Vertical(*rows, below), collapse_panels=True)
