"""One frame, as it is and as candidates reconstruct it."""

from __future__ import annotations

import base64
import binascii
import struct
from dataclasses import dataclass

from vidtok_edge.runtime.bench.requirement import require

__all__ = ["LARGEST_PICTURE", "Picture", "Pictures"]

LARGEST_PICTURE = 8192
"""Height and width of a picture at most."""
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A frame, or what a candidate made of it."""

    name: str
    """The candidate's, or `original`."""
    psnr_db: float | None
    """Against the original; None of the original, and where both are equal."""
    height: int
    width: int
    png: str
    """The file, in base64."""

    def __post_init__(self) -> None:
        try:
            data = base64.b64decode(self.png, validate=True)
        except binascii.Error as error:
            raise ValueError(f"a picture is not base64: {error}") from None
        require(data.startswith(_PNG) and len(data) > 24, "a picture is no PNG file")
        width, height = struct.unpack(">II", data[16:24])
        require((width, height) == (self.width, self.height), "a picture has another size")
        require(min(width, height) > 0, "a picture is empty")
        require(max(width, height) <= LARGEST_PICTURE, f"a picture is over {LARGEST_PICTURE} wide")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """One frame as each candidate of the runtime's own reconstructs it."""

    shown: tuple[Picture, ...]
    missing: str
    """Why there are none; empty where there are."""
