"""Hashes that are known are those of the files as they are."""

from __future__ import annotations

import json
import os
from hashlib import sha256
from pathlib import Path

import pytest

from vidtok_edge.errors import BundleFileChanged
from vidtok_edge.runtime import Bundle, known_hashes, remembered
from vidtok_edge.runtime.known_hashes import known_sha256_of


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of what is known; every file is worth knowing."""
    monkeypatch.setattr(known_hashes, "_WORTH_KNOWING", 1)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "vidtok-edge" / "hashes.json"


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were read to be hashed."""
    seen: list[Path] = []

    def spy(path: Path) -> str:
        seen.append(path)
        return sha256(path.read_bytes()).hexdigest()

    monkeypatch.setattr(known_hashes, "sha256_of", spy)
    return seen


def test_a_file_is_read_once(cache: Path, tmp_path: Path, hashed: list[Path]) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    assert [known_sha256_of(path) for _ in range(3)] == [sha256(b"abc").hexdigest()] * 3
    assert hashed == [path] and cache.is_file()


def test_a_change_in_place_is_seen_though_its_time_is_set_back(
    cache: Path, tmp_path: Path, hashed: list[Path]
) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    before = path.stat()
    known_sha256_of(path)
    path.write_bytes(b"abd")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert known_sha256_of(path) == sha256(b"abd").hexdigest()
    assert len(hashed) == 2


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{", b"[" * 100_000, b"\xff", b'{"1:2:3:4:5": 7}', b" " * (2 << 20)],
    ids=["empty", "list", "cut", "deep", "no-text", "number", "large"],
)
def test_a_cache_that_is_none_is_made_again(cache: Path, tmp_path: Path, content: bytes) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_bytes(content)
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    assert known_sha256_of(path) == sha256(b"abc").hexdigest()
    assert sha256(b"abc").hexdigest() in cache.read_text()


def test_a_cache_that_cannot_be_written_costs_time_alone(
    cache: Path, tmp_path: Path, hashed: list[Path]
) -> None:
    cache.parent.parent.write_bytes(b"a file where the folder should be")
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    assert known_sha256_of(path) == known_sha256_of(path)
    assert len(hashed) == 2


def test_what_is_known_does_not_grow(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remembered, "_MOST", 3)
    for number in range(9):
        path = tmp_path / f"{number}"
        path.write_bytes(b"abc")
        known_sha256_of(path)
    assert len(json.loads(cache.read_text())) == 3


def test_weights_that_were_changed_in_place_are_refused(cache: Path, tiny: Path) -> None:
    Bundle.load(tiny, check_hashes=True)
    graph = tiny / "encoder.fp32.onnx"
    status, data = graph.stat(), bytearray(graph.read_bytes())
    data[-20] ^= 1
    graph.write_bytes(data)
    os.utime(graph, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(BundleFileChanged, match="changed or copied badly"):
        Bundle.load(tiny, check_hashes=True)
