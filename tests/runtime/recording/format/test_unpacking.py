"""What chunks are compressed to: as little is unpacked as is allowed."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from costs import peak_bytes
from mcap.writer import CompressionType, Writer
from recordings import FSQ

from vidtok_edge.runtime.recording.format.mcap_file import checksum
from vidtok_edge.runtime.recording.format.reader import Recording
from vidtok_edge.runtime.recording.format.scan import MAX_RECORD_BYTES


def bomb(size: int, claimed: int | None, compression: CompressionType, path: Path) -> None:
    """An MCAP file whose one chunk unpacks to `size` zeros, but claims another size."""
    facts = {
        "format": "1",
        "source_number": "0",
        "source_count": "1",
        "source": "cam",
        "flush_interval_s": "1",
        **FSQ.to_map(),
    }
    with path.open("wb") as file:
        writer = Writer(file, compression=compression, chunk_size=size + 1)
        writer.start()
        writer.add_metadata("vidtok_edge.source", {**facts, "crc32": checksum(facts)})
        channel = writer.register_channel("/camera0/latents", "cdr", 0)
        writer.add_message(channel, 0, bytes(size), 0)
        writer.finish()  # type: ignore[no-untyped-call]
    if claimed is not None:
        data = bytearray(path.read_bytes())
        place = data.index(b"\x06", data.index(b"crc32") + 17)  # the chunk follows the facts
        struct.pack_into("<Q", data, place + 9 + 16, claimed)
        path.write_bytes(data)


@pytest.mark.parametrize("claimed", [None, 1000])
@pytest.mark.parametrize("compression", [CompressionType.ZSTD, CompressionType.LZ4])
def test_a_decompression_bomb_is_not_unpacked(
    tmp_path: Path, compression: CompressionType, claimed: int | None
) -> None:
    path = tmp_path / "bomb.mcap"
    bomb(MAX_RECORD_BYTES + 1000, claimed, compression, path)

    def read_it() -> None:
        with Recording.open(path, use_index=False) as recording:
            assert list(recording.entries()) == [] and recording.damage

    assert peak_bytes(read_it) < 4 << 20
