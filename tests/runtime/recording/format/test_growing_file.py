"""A file that grows: links that lead to it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from vidtok_edge.errors import OutputExists, OutputNotWritable
from vidtok_edge.runtime.recording.format.growing_file import GrowingFile


@pytest.fixture
def link(tmp_path: Path) -> Path:
    """A link to `disk/real.mcap`, which is not there yet."""
    (tmp_path / "disk").mkdir()
    path = tmp_path / "drive.mcap"
    path.symlink_to(tmp_path / "disk" / "real.mcap")
    return path


def written(path: Path, data: bytes, *, force: bool = False) -> None:
    file = GrowingFile(path, force=force)
    try:
        file.write(data)
        file.flush()
    finally:
        file.close()


def test_a_link_stays_where_the_file_behind_it_is_taken_away(link: Path) -> None:
    real = link.resolve()
    real.write_bytes(b"before")
    file = GrowingFile(link, force=True)
    file.remove()
    file.close()
    assert link.is_symlink() and not real.exists()
    written(link, b"again")
    assert link.is_symlink() and real.read_bytes() == b"again"


def test_a_file_is_made_where_a_link_leads(link: Path) -> None:
    written(link, b"one")
    assert link.is_symlink() and link.resolve().read_bytes() == b"one"
    with pytest.raises(OutputExists):
        GrowingFile(link)
    assert link.read_bytes() == b"one"
    written(link, b"two", force=True)
    assert link.is_symlink() and link.read_bytes() == b"two"


@pytest.mark.parametrize("leads", ["nowhere/real.mcap", "drive.mcap"])
def test_a_link_that_leads_nowhere(tmp_path: Path, leads: str) -> None:
    link = tmp_path / "drive.mcap"
    link.symlink_to(leads)
    reason = os.strerror(errno.ELOOP if leads == link.name else errno.ENOENT)
    with pytest.raises(OutputNotWritable, match=reason):
        GrowingFile(link)
    assert link.is_symlink()
