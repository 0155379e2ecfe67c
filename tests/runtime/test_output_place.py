"""What files and folders have in common: their place, its permissions, what is said of it."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from outputs import file_limit, names, nobody, refuse_links, texts_of, write_whole

from vidtok_edge.errors import OutputExists, OutputNotWritable
from vidtok_edge.runtime.files import replace_file, write_beside
from vidtok_edge.runtime.folders import write_folder_beside


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    error=st.sampled_from([ValueError, KeyboardInterrupt, SystemExit, MemoryError]),
    written=st.binary(max_size=64),
    old=st.none() | st.binary(max_size=8),
    folder=st.booleans(),
)
def test_nothing_is_left_behind_by_any_exception(
    tmp_path: Path, error: type[BaseException], written: bytes, old: bytes | None, folder: bool
) -> None:
    place = tmp_path / "out"
    held = place / "manifest.json" if folder else place
    if old is not None:
        held.parent.mkdir(exist_ok=True)
        held.write_bytes(old)
    writing = write_folder_beside if folder else write_beside
    with pytest.raises(error), writing(place, force=True) as temporary:
        (temporary / "half" if folder else temporary).write_bytes(written)
        raise error
    assert names(tmp_path) == ([] if old is None else ["out"])
    if old is not None:
        assert held.read_bytes() == old
        held.unlink()
    if folder and old is not None:
        place.rmdir()


@pytest.mark.parametrize("writing", [write_beside, write_folder_beside])
def test_existing_output_is_refused_before_the_work(tmp_path: Path, writing: object) -> None:
    place = tmp_path / "out"
    place.write_text("old") if writing is write_beside else place.mkdir()
    began = False
    with pytest.raises(OutputExists, match=r"out exists already. Pass --force"):
        if writing is write_beside:
            with write_beside(place):
                began = True
        else:
            with write_folder_beside(place):
                began = True
    assert not began and names(tmp_path) == ["out"]


def test_long_names_fit(tmp_path: Path) -> None:
    with write_beside(tmp_path / ("é" * 120)) as temporary:
        temporary.write_text("x")
    with pytest.raises(OutputNotWritable, match="name is too long"), write_beside("x" * 300):
        pass


@pytest.mark.parametrize("writing", [write_beside, write_folder_beside])
def test_folder_that_does_not_exist(tmp_path: Path, writing: object) -> None:
    opened = write_beside if writing is write_beside else write_folder_beside
    with (
        pytest.raises(OutputNotWritable, match=r"no-such does not exist. Create it"),
        opened(tmp_path / "no-such" / "out"),
    ):
        pass
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(OutputNotWritable, match="is a file, not a folder"),
        opened(tmp_path / "file" / "out"),
    ):
        pass


def test_a_current_folder_that_was_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(OutputNotWritable, match="current folder was removed"), write_beside("out"):
        pass


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (errno.ENOSPC, r"the disk is full \([0-9.]+ MB free in .*\)\. Free some space, or choose"),
        (errno.EDQUOT, "the disk is full"),
        (errno.EROFS, "can only be read. Choose"),
        (errno.EACCES, "no permission to write in .* Change"),
        (errno.EPERM, "no permission"),
    ],
)
@pytest.mark.parametrize("at_open", [True, False])
def test_disk_errors_become_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, sentence: str, at_open: bool
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    if at_open:
        monkeypatch.setattr(os, "open", fails)
    with (
        pytest.raises(OutputNotWritable, match=rf"out cannot be written: .*{sentence}"),
        write_beside(tmp_path / "out"),
    ):
        fails()
    assert names(tmp_path) == []


def test_free_space_that_cannot_be_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: object) -> None:
        raise OSError

    monkeypatch.setattr("shutil.disk_usage", fails)
    with (
        pytest.raises(OutputNotWritable, match="free space unknown"),
        write_beside(tmp_path / "out"),
    ):
        raise OSError(errno.ENOSPC, "full")


def test_a_write_that_the_kernel_refuses(tmp_path: Path) -> None:
    with (
        file_limit(4096),
        pytest.raises(OutputNotWritable, match="larger than this disk or account allows"),
        write_beside(tmp_path / "out") as temporary,
    ):
        temporary.write_bytes(bytes(8192))
    assert names(tmp_path) == []


def test_errors_about_other_files_pass_unchanged(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), write_beside(tmp_path / "out"):
        (tmp_path / "input").read_bytes()
    assert names(tmp_path) == []


def in_threads(count: int, work: Callable[[int], None]) -> list[BaseException | None]:
    """What each of them raised, if anything."""
    raised: list[BaseException | None] = [None] * count

    def run(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            raised[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised


@pytest.fixture(params=[True, False], ids=["links", "no links"])
def links(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if not request.param:
        refuse_links(monkeypatch)


@pytest.mark.usefixtures("links")
@pytest.mark.parametrize("writing", [write_beside, write_folder_beside])
def test_of_many_writers_one_succeeds(tmp_path: Path, writing: Any) -> None:
    for turn in range(40):
        place, together = tmp_path / str(turn), threading.Barrier(3)
        raised = in_threads(3, partial(write_whole, writing, place, False, together.wait))
        winner = raised.index(None)
        others = [error for n, error in enumerate(raised) if n != winner]
        assert [type(error) for error in others] == [OutputExists, OutputExists], raised
        assert texts_of(place) == {str(winner)}, "whole, and the winner's"
    assert len(names(tmp_path)) == 40


@pytest.mark.parametrize("writing", [write_beside, write_folder_beside])
@pytest.mark.parametrize("old", [True, False])
def test_of_many_that_force_all_succeed(tmp_path: Path, writing: Any, old: bool) -> None:
    for turn in range(40):
        place, together = tmp_path / str(turn), threading.Barrier(3)
        if old:
            write_whole(writing, place, False, nobody, "old")
        raised = in_threads(3, partial(write_whole, writing, place, True, together.wait))
        assert raised == [None, None, None]
        assert len(texts_of(place)) == 1 and texts_of(place) < {"0", "1", "2"}
    assert len(names(tmp_path)) == 40


@pytest.fixture(params=[0o022, 0o077, 0o002])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_new_outputs_have_the_permissions_of_the_umask(tmp_path: Path, umask: int) -> None:
    for number in range(2):
        with write_beside(tmp_path / f"{number}") as file:
            if number:  # a library that writes its own file
                file.unlink()
                os.close(os.open(file, os.O_CREAT | os.O_WRONLY, 0o600))
        assert mode(tmp_path / f"{number}") == 0o666 & ~umask
    with write_folder_beside(tmp_path / "folder") as folder:
        (folder / "reports").mkdir()
        for name in ("a", "reports/b"):
            os.close(os.open(folder / name, os.O_CREAT | os.O_WRONLY, 0o600))
    assert mode(tmp_path / "folder") == mode(tmp_path / "folder/reports") == 0o777 & ~umask
    assert mode(tmp_path / "folder/a") == mode(tmp_path / "folder/reports/b") == 0o666 & ~umask


@pytest.mark.parametrize("kept", [0o600, 0o640, 0o444, 0o664])
def test_what_is_replaced_keeps_its_permissions(tmp_path: Path, umask: int, kept: int) -> None:
    (tmp_path / "file").touch(kept)
    (tmp_path / "file").chmod(kept)
    with write_beside(tmp_path / "file", force=True) as file:
        assert mode(file) & ~(kept | stat.S_IWUSR) == 0, "nobody may read it meanwhile"
        file.write_text("new")
    assert mode(tmp_path / "file") == kept
    for _ in range(2):
        with write_folder_beside(tmp_path / "bundle", force=True) as folder:
            for name in ("manifest.json", "weights"):
                (folder / name).write_text("x")
        (tmp_path / "bundle" / "weights").chmod(kept)
        (tmp_path / "bundle").chmod(0o700)
    with write_folder_beside(tmp_path / "bundle", force=True) as folder:
        for name in ("manifest.json", "weights", "more"):
            (folder / name).write_text("x")
    found = {path.name: mode(path) for path in (tmp_path / "bundle").iterdir()}
    usual = 0o666 & ~umask
    assert found == {"manifest.json": usual, "weights": kept, "more": usual}
    assert mode(tmp_path / "bundle") == 0o700
    (tmp_path / "a").write_text("a")
    replace_file(tmp_path / "a", tmp_path / "file")
    assert mode(tmp_path / "file") == kept
