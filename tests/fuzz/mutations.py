"""Files changed at random, the same for the same generator: as bytes, as text, and inside."""

from __future__ import annotations

import io
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from random import Random

__all__ = ["Mutation", "of_bytes", "of_mcap", "of_text", "of_zip"]

Mutation = Callable[[Random, bytes], bytes]

_NUMBERS: tuple[int, ...] = (
    *(0, 1, 2, 127, 255, 1 << 15, 1 << 16, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 40),
    *((1 << 63) - 1, 1 << 63, (1 << 64) - 1),
)
_TEXTS: tuple[bytes, ...] = (
    *(b"-1", b"0", b"0.5", b"1e308", b"1e999", b"NaN", b"18446744073709551616", b"9" * 400),
    *(b"null", b"true", b"[]", b"{}", b"[" * 3000),
    *(b"[" * n + b"]" * n for n in (50, 300, 900, 960, 980, 990, 3000, 9000)),
    *(b'""', b'"\\ud800"', b'"' + b"x" * 5000 + b'"'),
)
_VALUE = re.compile(rb'-?\d+(?:\.\d+)?|"[^"]*"|true|false|null|\w+')
_MAGIC = b"\x89MCAP0\r\n"
_HEAD, _CHUNK = struct.Struct("<BQ"), struct.Struct("<QQQII")


def of_bytes(rng: Random, data: bytes) -> bytes:
    """A few changes: bits, numbers, pieces left out, doubled or moved, the end cut off."""
    changed = bytearray(data)
    for _ in range(1 << rng.randrange(4)):
        size = len(changed)
        if size < 2:
            changed += bytes(rng.randrange(256) for _ in range(16))
            continue
        at, length = rng.randrange(size), 1 << rng.randrange(8)
        how = rng.randrange(7)
        if how == 0:
            changed[at] ^= 1 << rng.randrange(8)
        elif how == 1:
            width = rng.choice((1, 2, 4, 8))
            number = rng.choice(_NUMBERS) & ((1 << 8 * width) - 1)
            changed[at : at + width] = number.to_bytes(width, rng.choice(("little", "big")))
        elif how == 2:
            del changed[at : at + length]
        elif how == 3:
            changed[at:at] = changed[at : at + length] * rng.choice((1, 1, 2, 50))
        elif how == 4:
            there = rng.randrange(size)
            changed[at : at + length] = changed[there : there + length]
        elif how == 5:
            changed[at : at + length] = rng.randbytes(length)
        elif rng.randrange(4) == 0:
            del changed[at:]
    return bytes(changed)


def of_text(rng: Random, data: bytes) -> bytes:
    """Values replaced by others, or as `of_bytes`."""
    if rng.randrange(3) == 0:
        return of_bytes(rng, data)
    for _ in range(1 << rng.randrange(3)):
        found = list(_VALUE.finditer(data))
        if not found:
            break
        old = rng.choice(found)
        new = rng.choice(_TEXTS) if rng.randrange(2) else rng.choice(found)[0]
        data = data[: old.start()] + new + data[old.end() :]
    return data


def of_zip(rng: Random, data: bytes) -> bytes:
    """A member changed, and the archive whole around it; or as `of_bytes`."""
    if rng.randrange(3) == 0:
        return of_bytes(rng, data)
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as archive, zipfile.ZipFile(made, "w") as output:
        chosen = rng.choice(archive.namelist())
        for info in archive.infolist():
            content = archive.read(info)
            if info.filename == chosen:
                if rng.randrange(8) == 0:
                    continue
                change = of_text if content[:1] in b"{[" else of_bytes
                content = change(rng, content)
            kind = zipfile.ZIP_DEFLATED if rng.randrange(2) else info.compress_type
            output.writestr(zipfile.ZipInfo(info.filename), content, kind)
    return made.getvalue()


def of_mcap(rng: Random, data: bytes) -> bytes:
    """A chunk or record changed, with a checksum that fits, or as `of_bytes`."""
    if rng.randrange(3) == 0:
        return of_bytes(rng, data)
    records, at = [], len(_MAGIC)
    while at + _HEAD.size <= len(data):
        opcode, length = _HEAD.unpack_from(data, at)
        records.append((opcode, data[at + _HEAD.size : at + _HEAD.size + length]))
        at += _HEAD.size + length
    for _ in range(1 << rng.randrange(3)):
        place = rng.randrange(len(records))
        opcode, content = records[place]
        change = _repacked if opcode == 6 else of_bytes
        records[place] = opcode, change(rng, content)
    if rng.randrange(4) == 0:
        records.insert(rng.randrange(len(records)), rng.choice(records))
    body = b"".join(_HEAD.pack(opcode, len(content)) + content for opcode, content in records)
    return _MAGIC + body + _MAGIC


def _repacked(rng: Random, chunk: bytes) -> bytes:
    """The content of a chunk, changed, in a chunk of any compression."""
    import lz4.frame  # type: ignore[import-untyped]
    import zstandard

    start, end, _, _, length = _CHUNK.unpack_from(chunk)
    content = of_bytes(rng, chunk[_CHUNK.size + length + 8 :])
    name = rng.choice((b"", b"lz4", b"zstd"))
    stored = content
    if name == b"lz4":
        stored = lz4.frame.compress(content)
    elif name == b"zstd":
        stored = zstandard.compress(content)
    head = _CHUNK.pack(start, end, len(content), zlib.crc32(content), len(name))
    return head + name + struct.pack("<Q", len(stored)) + stored
