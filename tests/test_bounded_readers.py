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
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import pytest
from costs import MIB, cost_of, measured
from fuzz.attempt import Attempt
from fuzz.targets import TARGETS
from numpy.lib import format as npy_format

from vidtok_edge.errors import VidTokEdgeError

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
EXAMPLES = 12
"""Of the fuzzer's files for each reader; `make fuzz` tries as many as fit a minute."""


# -- documents that are far too large: sparse, so that only reading costs

DOCUMENTS = ("manifest", "sidecar", "parity", "hashes", "config", "ranges", "policy", "bench")
OF_PROOFS = ("golden.json", "golden.npz", "proof")
AS_IF_THERE_WERE_NONE = ("parity", "hashes", "sidecar", "timing")


@measured
@pytest.mark.parametrize("name", [*DOCUMENTS, *OF_PROOFS, "timing", "checkpoint.index", "bag.list"])
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


@pytest.mark.parametrize("name", TARGETS)
def test_changed_files_are_read_or_refused(name: str, tmp_path: Path) -> None:
    target = TARGETS[name]
    if not target.here:
        pytest.skip(f"needs {', '.join(target.needs)}")
    attempt, rng = Attempt(target, tmp_path), Random(name)
    sound = attempt.sound
    for _ in range(EXAMPLES):
        attempt.read(target.mutation(rng, sound))
