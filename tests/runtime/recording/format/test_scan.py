"""What a scan costs: in proportion to the file, whatever it claims."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from costs import MIB, cost_of, measured
from fuzz.targets import TARGETS

from vidtok_edge.bounded import Budget
from vidtok_edge.errors import VidTokEdgeError

pytestmark = pytest.mark.slow

TESTS = Path(__file__).parents[3]
MAGIC = b"\x89MCAP0\r\n"


def chunk(content: bytes, name: bytes = b"", stored: bytes | None = None) -> bytes:
    stored = content if stored is None else stored
    head = struct.pack("<QQQII", 0, 0, len(content), zlib.crc32(content), len(name))
    body = head + name + struct.pack("<Q", len(stored)) + stored
    return struct.pack("<BQ", 6, len(body)) + body


def false_heads(size: int) -> bytes:
    """Heads of chunks that reach to the end of the file, one behind another."""
    heads = bytearray(MAGIC)
    while (length := size - len(heads) - 9) > 40:
        stored = length - 40
        heads += struct.pack("<BQQQQIIQ", 6, length, 0, 0, stored, 1, 0, stored)
    return bytes(heads).ljust(size, b"\1")


def packed(record: bytes, kind: str) -> bytes:
    """Chunks of 32 MiB of one record, again and again."""
    import lz4.frame  # type: ignore[import-untyped]
    import zstandard

    content = record * (32 * MIB // len(record))
    pack = zstandard.compress if kind == "zstd" else lz4.frame.compress
    return MAGIC + chunk(content, kind.encode(), pack(content)) * 4


CHANNEL = struct.pack("<BQHHI", 4, 24, 1, 0, 1) + b"a" + struct.pack("<II", 0, 0) + bytes(7)


@measured
@pytest.mark.parametrize(
    "make",
    [
        lambda: false_heads(300_000),
        lambda: false_heads(1_200_000),
        lambda: packed(struct.pack("<BQ", 0x80, 0), "zstd"),
        lambda: packed(struct.pack("<BQ", 0x80, 0), "lz4"),
        lambda: packed(CHANNEL, "zstd"),
        lambda: MAGIC + (b"\x0c" + struct.pack("<Q", 65_000)) * 100_000,
    ],
    ids=["heads", "more heads", "zstd", "lz4", "channels", "metadata"],
)
def test_recordings(make: Callable[[], bytes], tmp_path: Path) -> None:
    for name in ("mcap", "lz4", "zstandard"):
        pytest.importorskip(name)
    path = tmp_path / "a.mcap"
    path.write_bytes(make())

    def read() -> None:
        with pytest.raises(VidTokEdgeError, match="more work than any sound file"):
            TARGETS["recording.recover"].read(path)

    memory, seconds = cost_of(read)
    assert memory < 160 * MIB and seconds < 4
    assert [file.name for file in tmp_path.iterdir()] == ["a.mcap"]


@pytest.mark.parametrize(
    "path",
    [
        *sorted((TESTS / "written_before").glob("*.mcap")),
        *sorted((TESTS / "field/recordings").glob("*.mcap")),
    ],
    ids=lambda path: path.stem,
)
def test_a_sound_recording_takes_a_tenth_of_the_work_that_is_allowed(path: Path) -> None:
    pytest.importorskip("mcap")
    from vidtok_edge.runtime.recording.format import scan

    found = scan.Scan(path)
    allowed = Budget(found.size, per_byte=scan._WORK_PER_BYTE, at_least=scan._WORK_AT_LEAST).left
    assert list(found.walk())
    assert allowed - found._budget.left < scan._WORK_PER_BYTE * found.size / 10
    found.close()


def test_a_scan_reads_in_proportion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mcap")
    read, path = [0], tmp_path / "a.mcap"
    pread = os.pread

    def counted(fd: int, length: int, offset: int) -> bytes:
        data = pread(fd, length, offset)
        read[0] += len(data)
        return data

    monkeypatch.setattr(os, "pread", counted)
    taken = []
    for size in (2 * MIB, 4 * MIB):
        path.write_bytes(false_heads(size))
        read[0] = 0
        with pytest.raises(VidTokEdgeError, match="more work"):
            TARGETS["recording.read"].read(path)
        taken.append(read[0] / size)
    assert max(taken) < 300 and max(taken) < 1.2 * min(taken)


def test_a_message_that_is_cut_off_defines_nothing(tmp_path: Path) -> None:
    """Its bytes are a schema's, too: number 0, without a name."""
    from vidtok_edge.runtime.recording.format.places import ChunkPlace
    from vidtok_edge.runtime.recording.format.scan import Scan

    path = tmp_path / "a.mcap"
    path.write_bytes(MAGIC + chunk(struct.pack("<BQ", 5, 14) + bytes(14)))
    with closing(Scan(path)) as scan:
        found = list(scan.walk())
    assert [type(item) for item in found] == [ChunkPlace]
