"""How large a picture may be that others made: decoding takes several bytes for each pixel.

A picture of one colour packs 10,000 to 1, and a header of 20 bytes claims any size.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["MOST_SCANS", "most_pixels", "scans_in"]

MOST_SCANS = 100
"""Of a JPEG: a progressive one has about 10, and each goes over all of its pixels."""

_ANY = 7680 * 4320  # 8K: 100 MB as RGB
_MOST = 89_478_485  # 270 MB; Pillow warns of more
_FOR_A_BYTE = 64  # a photograph takes one byte for 2 to 20 pixels


def most_pixels(stored: int) -> int:
    """The pixels that a picture, or a frame, of a file of `stored` bytes may have.

    Of a camera, whose bytes nobody knows: 0, for 8K.

    >>> most_pixels(20_000) == 7680 * 4320
    True
    """
    return min(_MOST, max(_ANY, _FOR_A_BYTE * stored))


def scans_in(jpeg: Path) -> int:
    """How many scans begin in a JPEG file, or in pictures that are embedded in it."""
    return jpeg.read_bytes().count(b"\xff\xda")  # nowhere else: 0xff in data is followed by 0
