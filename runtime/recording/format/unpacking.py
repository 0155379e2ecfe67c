"""What chunks are compressed to, unpacked without believing how long it claims to be.

Ours are compressed with zstd, copies by other tools in any way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import lz4.frame  # type: ignore[import-untyped]
import zstandard

from vidtok_edge.bounded import PIECE, Budget

__all__ = ["COMPRESSIONS", "unpacked"]


def unpacked(name: bytes, data: bytes, size: int, budget: Budget | None) -> bytes | None:
    """What `data` unpacks to; None: more than `size` bytes, or not what `name` says.

    Args:
        name: of the compression, one of `COMPRESSIONS`; empty: there is none.
        budget: what each byte that comes out is counted to; None: it was paid for. Raises
            TooMuchWork.
    """
    if not name:
        return data
    content = bytearray()
    try:
        for piece in _UNPACKERS[name](data, min(PIECE, size + 1)):
            if budget is not None:
                budget.spend(len(piece))
            content += piece
            if len(content) > size:
                return None
    except (RuntimeError, ValueError, MemoryError, EOFError, zstandard.ZstdError):
        return None
    return bytes(content)


def _from_lz4(data: bytes, size: int) -> Iterator[bytes]:
    """Pieces of at most `size` bytes, as every unpacker gives them."""
    unpacker = lz4.frame.LZ4FrameDecompressor()
    while piece := bytes(unpacker.decompress(data, max_length=size)):
        yield piece
        if unpacker.eof:
            return
        data = b""  # the unpacker holds what is left


def _from_zstd(data: bytes, size: int) -> Iterator[bytes]:
    reader = zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(data)
    while piece := bytes(reader.read(size)):
        yield piece


_UNPACKERS: dict[bytes, Callable[[bytes, int], Iterator[bytes]]] = {
    b"lz4": _from_lz4,
    b"zstd": _from_zstd,
}
COMPRESSIONS = (b"", *_UNPACKERS)
"""As chunks name them; empty: none."""
