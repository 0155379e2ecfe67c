"""Files are whole or absent, and never take the place of something else unasked."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from outputs import names, refuse_links

from vidtok_edge.errors import OutputExists, OutputNotWritable, UsageError
from vidtok_edge.runtime.files import require_recording_name, require_writable, write_beside


def test_appears_when_the_block_ends(tmp_path: Path) -> None:
    with write_beside(tmp_path / "out.bin") as temporary:
        temporary.write_bytes(b"whole")
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(".") and temporary.name.endswith(".part")
        assert not (tmp_path / "out.bin").exists()
    assert names(tmp_path) == ["out.bin"]
    assert (tmp_path / "out.bin").read_bytes() == b"whole"


def test_output_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    with pytest.raises(OutputExists), write_beside(tmp_path / "out"):
        (tmp_path / "out").write_text("theirs")
    assert names(tmp_path) == ["out"] and (tmp_path / "out").read_text() == "theirs"


def test_force_replaces_and_follows_links(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("old")
    (tmp_path / "link").symlink_to("target")
    with write_beside(tmp_path / "link", force=True) as temporary:
        temporary.write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == "new"


def test_devices_and_folders_are_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="device or pipe"), write_beside(os.devnull, force=True):
        pass
    with pytest.raises(UsageError, match="is a folder"), write_beside(tmp_path, force=True):
        pass


def test_what_cannot_be_written_is_known_before_the_work(tmp_path: Path) -> None:
    require_writable(tmp_path / "new.json")
    assert names(tmp_path) == []
    (tmp_path / "old.json").write_text("old")
    require_writable(tmp_path / "old.json", force=True)
    assert (tmp_path / "old.json").read_text() == "old" and names(tmp_path) == ["old.json"]
    with pytest.raises(OutputExists):
        require_writable(tmp_path / "old.json")
    with pytest.raises(OutputNotWritable, match="does not exist"):
        require_writable(tmp_path / "gone" / "new.json")
    with pytest.raises(UsageError, match="is a folder"):
        require_writable(tmp_path)


def test_a_claim_that_cannot_be_used_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    refuse_links(monkeypatch)
    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(OutputNotWritable, match="disk is full"), write_beside(tmp_path / "out"):
        pass
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["drive.mp4", "drive.JPG", "a/drive.v2.rrd", "drive.npz"])
def test_a_recording_is_not_named_for_another_format(name: str) -> None:
    with pytest.raises(UsageError, match=r"Name it .*drive(\.v2)?\.mcap"):
        require_recording_name(name)


@pytest.mark.parametrize("name", ["drive.mcap", "drive", "drive.part1", "drive.2026-11-28", ".mp4"])
def test_a_recording_may_have_any_name_of_no_format(name: str) -> None:
    require_recording_name(name)
