"""One session has a list for itself: whichever way it is reached, and also where it is not read."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from vidtok_edge.errors import RecordingBusy
from vidtok_edge.runtime.session.held_list import HeldList


def test_a_list_that_may_not_be_read_is_replaced_and_not_that_of_another_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, real = tmp_path / "drive.index.json", os.open
    path.write_text("of another user")

    def refused(name: Any, *rest: Any, **named: Any) -> int:
        if name == path:
            raise PermissionError(13, os.strerror(13), str(path))
        return real(name, *rest, **named)

    monkeypatch.setattr(os, "open", refused)
    with closing(HeldList(path)) as held:
        monkeypatch.undo()
        held.write("ours")
        assert path.read_text() == "ours"
        held.write("ours again")
        with pytest.raises(RecordingBusy, match="the list of another session"):
            HeldList(path)
    assert path.read_text() == "ours again"


@pytest.mark.skipif("sys.platform != 'linux'", reason="has no names that die with a process")
def test_a_list_is_that_of_its_folder_and_not_of_a_path(tmp_path: Path) -> None:
    """As of containers, which see one disk at two paths, or two disks at one."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    with closing(HeldList(first / "drive.index.json")):
        first.rename(second)
        first.mkdir()
        with closing(HeldList(first / "drive.index.json")):
            pass
        with closing(HeldList(second / "other.index.json")):
            pass
        with pytest.raises(RecordingBusy, match="the list of another session"):
            HeldList(second / "drive.index.json")
    with closing(HeldList(second / "drive.index.json")):
        pass
