"""Files are read no further than allowed: by size, by directory, by the work they ask for."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
from costs import MIB

from vidtok_edge.bounded import Budget, TooLarge, TooMuchWork, opened_zip, read_at_most


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
