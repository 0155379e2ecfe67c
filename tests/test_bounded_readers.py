"""What files of others cost their readers: no more memory and time than their size explains.

Memory is what the process took at its peak, in libraries too; time is that of its processor, and
where it can be, a count of what was read.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import sys
import time
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from fuzz.attempt import Attempt, peak_rss, reset_peak_rss
from fuzz.targets import TARGETS
from numpy.lib import format as npy_format

from vidtok_edge.bounded import Budget, TooLarge, TooMuchWork, opened_zip, read_at_most
from vidtok_edge.errors import VidTokEdgeError

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
MIB = 1 << 20
EXAMPLES = 12
"""Of the fuzzer's files for each reader; `make fuzz` tries as many as fit a minute."""

measured = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="peaks of memory are read from Linux"
)


def cost_of(read: Callable[[], object]) -> tuple[int, float]:
    """Bytes of memory at the peak, beyond those before, and seconds of processor."""
    reset_peak_rss()
    before, began = peak_rss(), time.process_time()
    try:
        read()
    finally:
        cost = peak_rss() - before, time.process_time() - began
    return cost


# -- the parts


def test_a_file_is_refused_by_its_size_and_a_pipe_where_it_is_too_long(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"123")
    assert read_at_most(path, 3) == b"123"
    with pytest.raises(TooLarge, match="larger than 2 bytes"):
        read_at_most(path, 2)
    with pytest.raises(TooLarge):
        read_at_most(Path("/dev/zero"), 5 * MIB)


def test_a_zip_with_a_long_directory_is_refused(tmp_path: Path) -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("a" * 1000, b"1")
    with opened_zip(made) as archive:
        assert archive.read("a" * 1000) == b"1"
    with pytest.raises(TooLarge, match="list of members"):
        opened_zip(made, largest_directory=1000)


def test_a_budget_is_at_least_and_in_proportion() -> None:
    assert Budget(10, per_byte=2, at_least=100).left == 100
    budget = Budget(100, per_byte=2, at_least=100)
    budget.spend(200)
    with pytest.raises(TooMuchWork):
        budget.spend(1)


# -- documents that are far too large: sparse, so that only reading costs

DOCUMENTS = ("manifest", "sidecar", "parity", "hashes", "config", "ranges", "policy", "bench")
OF_PROOFS = ("golden.json", "golden.npz", "proof")
AS_IF_THERE_WERE_NONE = ("parity", "hashes", "sidecar", "timing")


@measured
@pytest.mark.parametrize("name", [*DOCUMENTS, *OF_PROOFS, "timing", "checkpoint.index"])
def test_a_document_of_a_gigabyte_is_not_read(name: str, tmp_path: Path) -> None:
    target = TARGETS[name]
    if not target.here:
        pytest.skip(f"needs {', '.join(target.needs)}")
    path = target.make(tmp_path)
    target.read(path)
    os.truncate(path, 1 << 30)

    def read() -> None:
        if name in AS_IF_THERE_WERE_NONE:
            target.read(path)
        else:
            with pytest.raises(VidTokEdgeError):
                target.read(path)

    memory, seconds = cost_of(read)
    assert memory < 8 * MIB and seconds < 2


def test_a_policy_of_many_rules_is_refused(tmp_path: Path) -> None:
    target = TARGETS["policy"]
    if not target.here:
        pytest.skip(f"needs {', '.join(target.needs)}")
    path = target.make(tmp_path)
    for rules, message in ((10_000, ""), (10_001, "allowed: 10000"), (1, "more than 200 char")):
        pattern = "*a" * 101 if "char" in message else "*a"
        plain = [{"pattern": f"{pattern}{n}", "level": "int8"} for n in range(rules)]
        path.write_text(json.dumps({"schema": 1, "rules": plain}))
        if message:
            with pytest.raises(VidTokEdgeError, match=message):
                target.read(path)
        else:
            assert cost_of(lambda: target.read(path))[1] < 4


# -- token files


def npz(folder: Path, shape: tuple[int, ...], length: int) -> Path:
    """A token file whose tokens claim `shape`, and are `length` zeros."""
    path = folder / "a.npz"
    header = io.BytesIO()
    facts = {"descr": "<i4", "fortran_order": False, "shape": shape}
    npy_format.write_array_header_1_0(header, facts)
    with (
        zipfile.ZipFile(HERE / "written_before/tokens.npz") as sound,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
    ):
        for info in sound.infolist():
            if info.filename != "tokens.npy":
                archive.writestr(info.filename, sound.read(info))
        with archive.open("tokens.npy", "w") as member:
            member.write(header.getvalue())
            for _ in range(length // MIB):
                member.write(bytes(MIB))
    return path


def many_members(folder: Path) -> Path:
    """A zip whose directory lists 100,000 members."""
    path = folder / "a.npz"
    entry = b"PK\x01\x02" + bytes(24) + struct.pack("<H", 8) + bytes(16) + b"abcdefgh"
    directory = entry * 100_000
    end = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 0xFFFF, 0xFFFF, len(directory), 4, 0)
    path.write_bytes(b"PK\x03\x04" + directory + end)
    return path


def read_tokens(path: Path) -> None:
    from vidtok_edge.runtime.clips.token_files import TokenFile

    TokenFile.load(path)


@measured
@pytest.mark.parametrize(
    ("make", "most", "message"),
    [
        (lambda folder: npz(folder, (-2, 4, 4), 100 * MIB), 8, r"claims the shape \(-2, 4, 4\)"),
        (lambda folder: npz(folder, (320, 512, 512), 320 * MIB), 8, "of which .* are stored"),
        (lambda folder: npz(folder, (64, 512, 512), MIB), 8, "cut short"),
        (many_members, 24, "list of members is larger"),
    ],
    ids=["negative", "zeros", "claims", "members"],
)
def test_token_files(make: Callable[[Path], Path], most: int, message: str, tmp_path: Path) -> None:
    path = make(tmp_path)

    def read() -> None:
        with pytest.raises(VidTokEdgeError, match=message):
            read_tokens(path)

    memory, seconds = cost_of(read)
    assert memory < most * MIB and seconds < 2


@measured
def test_a_sound_token_file_takes_its_tokens_once(tmp_path: Path) -> None:
    from vidtok_edge.runtime.clips.token_files import TokenFile

    tokens = np.arange(16 * MIB, dtype=np.int32).reshape(64, 512, 512)
    TokenFile(tokens=tokens).save(tmp_path / "a.npy")
    memory, _ = cost_of(lambda: read_tokens(tmp_path / "a.npy"))
    assert memory < 1.1 * tokens.nbytes + 8 * MIB


# -- checkpoints


def torch_zip(folder: Path, data: bytes, kind: int = zipfile.ZIP_STORED) -> Path:
    path = folder / "a.pt"
    with zipfile.ZipFile(path, "w", kind) as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/byteorder", "little")
        archive.writestr("archive/version", "3\n")
    return path


def keys(folder: Path, names: list[str]) -> Path:
    """Safetensors of empty tensors."""
    path = folder / "a.safetensors"
    plain = {name: {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for name in names}
    header = json.dumps(plain).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    return path


GIGABYTE = b"\x80\x02c__builtin__\nbytearray\nJ" + struct.pack("<i", 1 << 30) + b"\x85R."
# 'ab' as hexadecimal digits, 40 times over: 2^41 bytes.
DOUBLED = b"\x80\x02c_codecs\nencode\nC\x02ab" + b"X\x03\0\0\0hex\x86R" * 40 + b"."


@measured
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: torch_zip(folder, bytes(200 * MIB), zipfile.ZIP_DEFLATED), "compressed"),
        (lambda folder: torch_zip(folder, pickle.dumps(list(range(2 * MIB)))), "larger than"),
        (lambda folder: torch_zip(folder, GIGABYTE), "it holds bytes"),
        (lambda folder: torch_zip(folder, DOUBLED), "it holds bytes"),
        (lambda folder: keys(folder, [f"k{i}" for i in range(100_000)]), "its header of"),
        (lambda folder: keys(folder, ["a." * 400_000 + "b"]), ""),
    ],
    ids=["deflated", "long", "bytearray", "codecs", "keys", "dots"],
)
def test_checkpoints(make: Callable[[Path], Path], message: str, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from vidtok_edge.errors import CheckpointError

    read_weights = TARGETS["checkpoint.zip"].read
    read_weights(TARGETS["checkpoint.zip"].make(tmp_path))  # torch imports more at the first
    path = make(tmp_path)

    def read() -> None:
        if not message:
            read_weights(path)
            return
        with pytest.raises(CheckpointError, match=message):
            read_weights(path)

    memory, seconds = cost_of(read)
    assert memory < 32 * MIB and seconds < 3


def test_a_bare_pickle_has_a_number_of_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    from vidtok_edge.errors import CheckpointError
    from vidtok_edge.vidtok_ref import pickle_bounds

    monkeypatch.setattr(pickle_bounds, "MOST_READS", 1000)
    target = TARGETS["checkpoint.pickle"]
    path = target.make(tmp_path)
    target.read(path)
    path.write_bytes(b"\x80\x02" + b"K\x01" * 100_000)
    with pytest.raises(CheckpointError, match="more than 1000 parts"):
        target.read(path)


@pytest.mark.parametrize(
    "bomb",
    [
        "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)),
        "a0: &a0 {k: v}\n"
        + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 40)),
    ],
    ids=["lists", "merged"],
)
def test_yaml_has_no_aliases(bomb: str, tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    pytest.importorskip("torch")
    from vidtok_edge.errors import CheckpointError
    from vidtok_edge.vidtok_ref.config import variant_from_config

    path = tmp_path / "a.yaml"
    path.write_text(bomb)
    with pytest.raises(CheckpointError, match="alias"):
        variant_from_config(path)


# -- pictures and clips


def black_png(side: int) -> bytes:
    """One bit for each pixel: 20 kB for 13000x13000."""

    def part(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    rows = zlib.compress(bytes(side * (1 + (side + 7) // 8)))
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", rows) + part(b"IEND", b"")


@measured
@pytest.mark.parametrize("side", [9000, 13000])
def test_a_small_file_of_a_huge_picture(side: int, tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    pytest.importorskip("av")
    from PIL import Image

    (tmp_path / "a.png").write_bytes(black_png(side))

    def read() -> None:
        with (
            warnings.catch_warnings(),
            pytest.raises(VidTokEdgeError, match=f"it claims {side}x{side}"),
        ):
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # it is Pillow's own
            TARGETS["picture.png"].read(tmp_path / "a.png")

    memory, seconds = cost_of(read)
    assert memory < 32 * MIB and seconds < 2


def test_a_jpeg_of_many_scans(tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    pytest.importorskip("av")
    from PIL import Image

    path = tmp_path / "a.jpg"
    Image.new("RGB", (2000, 2000)).save(path, progressive=True)
    TARGETS["picture.jpg"].read(path)
    sound = path.read_bytes()
    last = sound[sound.rindex(b"\xff\xc4", 0, sound.rindex(b"\xff\xda")) : -2]
    path.write_bytes(sound[:-2] + last * 5000 + b"\xff\xd9")

    def read() -> None:
        with pytest.raises(VidTokEdgeError, match=r"it has 50\d\d scans"):
            TARGETS["picture.jpg"].read(path)

    _, seconds = cost_of(read)
    assert seconds < 1


def video_of(packet: bytes, side: int, path: Path) -> Path:
    import av

    with av.open(path, "w") as container:
        stream = container.add_stream("png", rate=10)
        stream.width = stream.height = side
        stream.pix_fmt = "monob"
        for number in range(2):
            given = av.Packet(packet)
            given.stream = stream
            given.pts = given.dts = number
            container.mux(given)
    return path


@measured
@pytest.mark.parametrize("suffix", ["mov", "avi"])
@pytest.mark.parametrize("claimed", [13000, 64])
def test_a_small_clip_of_huge_frames(suffix: str, claimed: int, tmp_path: Path) -> None:
    pytest.importorskip("av")
    pytest.importorskip("PIL")
    path = video_of(black_png(13000), claimed, tmp_path / f"a.{suffix}")

    def read() -> None:
        with pytest.raises(VidTokEdgeError, match=r"claims frames of|not one readable"):
            TARGETS["clip.mp4"].read(path)

    memory, seconds = cost_of(read)
    assert memory < 64 * MIB and seconds < 2


# -- recordings

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
        *sorted((HERE / "written_before").glob("*.mcap")),
        *sorted((HERE / "field/recordings").glob("*.mcap")),
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


def test_a_chunk_that_the_index_lists_often_is_not_read_by_it(tmp_path: Path) -> None:
    pytest.importorskip("mcap")
    from mcap.records import ChunkIndex, McapRecord, Statistics
    from recordings import record

    from vidtok_edge.runtime.recording.format.reader import Recording
    from vidtok_edge.runtime.recording.format.scan import Scan

    path = record(tmp_path / "a.mcap")
    summary = Scan.summary

    def often(scan: Scan) -> list[McapRecord]:
        found = summary(scan) or []
        chunks = [item for item in found if isinstance(item, ChunkIndex)]
        for item in found:
            if isinstance(item, Statistics):
                item.chunk_count += len(chunks)
        return found + chunks

    with Recording.open(path) as recording:
        assert recording.indexed
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Scan, "summary", often)
        with Recording.open(path) as recording:
            assert not recording.indexed


def test_numbers_in_any_order_are_counted_in_a_pass() -> None:
    pytest.importorskip("mcap")
    from vidtok_edge.runtime.recording.recovery import _Channel

    steps = [0]

    def count(frame: Any, event: str, arg: object) -> None:
        steps[0] += event == "call"

    channel = _Channel()
    sys.setprofile(count)
    try:
        for number in range(20_000, 0, -2):
            channel.add(number, number)
        gaps = list(channel.gaps(0))
    finally:
        sys.setprofile(None)
    assert [gap.latents for gap in gaps] == [2] + [1] * 9_999
    assert steps[0] < 10 * 10_000


# -- anything


@pytest.mark.parametrize("name", TARGETS)
def test_changed_files_are_read_or_refused(name: str, tmp_path: Path) -> None:
    target = TARGETS[name]
    if not target.here:
        pytest.skip(f"needs {', '.join(target.needs)}")
    attempt, rng = Attempt(target, tmp_path), Random(name)
    sound = attempt.sound
    for _ in range(EXAMPLES):
        attempt.read(target.mutation(rng, sound))
