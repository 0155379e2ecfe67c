"""A small picture of each source, now and then, by which a person checks a recording."""

from __future__ import annotations

import io
import json
from collections import Counter
from typing import Any

from numpy.typing import NDArray

from vidtok_edge.errors import MissingDependency
from vidtok_edge.runtime.session.samples import GAPS
from vidtok_edge.runtime.sources.frame import Frame
from vidtok_edge.runtime.streaming.records import Picture, Sample

try:
    from PIL import Image
except ImportError:
    raise MissingDependency("pillow", "video", "An audit track") from None

__all__ = ["LONGEST_SIDE", "MOST_BYTES", "Audit", "jpeg_from_pixels"]

LONGEST_SIDE = 320
"""Pixels; what is larger is scaled."""
MOST_BYTES = 48_000
"""Of a picture."""
_QUALITIES = (80, 60, 40, 20)


class Audit:
    """Decides when a frame becomes a picture, and makes it.

    One is due `every_s` after the last. While frames wait for the encoder none is made, for that
    would make them later still; where that lasts until the next one is due, it is skipped and
    counted.

    Args:
        every_s: of each source.
    """

    def __init__(self, every_s: float) -> None:
        self._every_ns = round(every_s * 1e9)
        self._due_ns: dict[int, int] = {}
        self._skipped: Counter[int] = Counter()  # that no sample says
        self.pictures: Counter[int] = Counter()
        """Made, by source."""
        self.skipped: Counter[int] = Counter()

    def look(self, source: int, frame: Frame, *, late: bool) -> Picture | None:
        """A picture of a frame, if one is due.

        Args:
            late: frames wait, also this one did.
        """
        at_ns = frame.capture_time_ns
        due_ns = self._due_ns.setdefault(source, at_ns)
        if at_ns < due_ns:
            return None
        if late:
            missed = (at_ns - due_ns) // self._every_ns
            self._skip(source, missed)
            self._due_ns[source] = due_ns + missed * self._every_ns
            return None
        self._due_ns[source] = at_ns + self._every_ns
        jpeg = jpeg_from_pixels(frame.pixels)
        if jpeg is None:
            self._skip(source, 1)
            return None
        self.pictures[source] += 1
        return Picture(source=source, time_ns=at_ns, wall_time_ns=frame.wall_time_ns, jpeg=jpeg)

    def told(self, now_ns: int, wall_ns: int) -> Sample | None:
        """An event that says how many were skipped since the last one; None: none was."""
        if not self._skipped:
            return None
        text = json.dumps({"audit": {str(source): n for source, n in self._skipped.items()}})
        self._skipped.clear()
        return Sample(channel=GAPS, time_ns=now_ns, wall_time_ns=wall_ns, text=text)

    def _skip(self, source: int, count: int) -> None:
        if count:
            self.skipped[source] += count
            self._skipped[source] += count


def jpeg_from_pixels(pixels: NDArray[Any]) -> bytes | None:
    """A JPEG of a frame, uint8 [H, W, 3] RGB; None: none of `MOST_BYTES` can be made of it.

    At most `LONGEST_SIDE` pixels wide and high, and of as good a quality as fits.
    """
    image = Image.fromarray(pixels)
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    for quality in _QUALITIES:
        held = io.BytesIO()
        image.save(held, "JPEG", quality=quality)
        if held.tell() <= MOST_BYTES:
            return held.getvalue()
    return None
