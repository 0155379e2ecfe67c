"""Folders are whole or absent, and never take the place of something else unasked."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from outputs import names, nobody, refuse_links, texts_of, write_whole

from vidtok_edge.errors import OutputNotWritable, UsageError
from vidtok_edge.runtime import folders
from vidtok_edge.runtime.folders import add_to_folder_beside, write_folder_beside


@pytest.fixture(params=[True, False], ids=["links", "no links"])
def links(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if not request.param:
        refuse_links(monkeypatch)


def test_folder_appears_and_replaces(tmp_path: Path) -> None:
    for text in ("first", "second"):
        with write_folder_beside(tmp_path / "bundle", force=True) as temporary:
            (temporary / "manifest.json").write_text(text)
            (temporary / text).write_text("")
        assert names(tmp_path) == ["bundle"]
    assert names(tmp_path / "bundle") == ["manifest.json", "second"]


def test_force_does_not_delete_a_folder_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("years of work")
    with (
        pytest.raises(UsageError, match=r"holds files but no manifest\.json"),
        write_folder_beside(tmp_path / "thesis", force=True),
    ):
        pass
    with (
        pytest.raises(UsageError, match="is a file"),
        write_folder_beside(tmp_path / "thesis" / "chapter1.tex", force=True),
    ):
        pass
    assert names(tmp_path / "thesis") == ["chapter1.tex"]


def test_old_folder_is_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "manifest.json").write_text("old")
    rename = os.rename

    def fails_for_the_new(source: Path, target: Path) -> None:
        if source.name.endswith(".part"):
            raise OSError(errno.ENOSPC, "full")
        rename(source, target)

    monkeypatch.setattr(os, "rename", fails_for_the_new)
    with (
        pytest.raises(OutputNotWritable, match="disk is full"),
        write_folder_beside(tmp_path / "bundle", force=True) as temporary,
    ):
        (temporary / "manifest.json").write_text("new")
    assert names(tmp_path) == ["bundle"]
    assert (tmp_path / "bundle" / "manifest.json").read_text() == "old"


@pytest.mark.parametrize("moment", ["before ours", "between", "moved aside"])
def test_a_folder_that_another_replaces_at_the_worst_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    place, aside, rename = tmp_path / "bundle", tmp_path / "aside", os.rename
    write_whole(write_folder_beside, place, False, nobody, "old")
    done: list[str] = []

    def meanwhile(source: Path, target: Path) -> None:
        ours = source.name.endswith(".part")
        now = "moved aside" if not ours else "before ours" if place.exists() else "between"
        if now == moment and not done:
            done.append(moment)
            if now == "moved aside":
                rename(place, aside)
            else:
                write_whole(write_folder_beside, place, True, nobody, "theirs")
        rename(source, target)

    monkeypatch.setattr(os, "rename", meanwhile)
    write_whole(write_folder_beside, place, True, nobody, "ours")
    assert done and texts_of(place) == {"ours"}
    assert names(tmp_path) == (["aside", "bundle"] if moment == "moved aside" else ["bundle"])


def added_to(tmp_path: Path) -> Path:
    place = tmp_path / "set"
    (place / "data").mkdir(parents=True)
    (place / "data" / "1").write_text("one")
    (place / "list").write_text("1")
    (place / "link").symlink_to("data")
    return place


@pytest.mark.parametrize("exchange", [True, False])
def test_a_folder_is_added_to(
    tmp_path: Path, exchange: bool, links: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not exchange:
        monkeypatch.setattr(folders, "_exchanged", lambda new, place: False)
    place = added_to(tmp_path)
    with add_to_folder_beside(place, marker="list", without=["list"]) as new:
        assert new.parent == tmp_path and names(new) == ["data", "link"]
        (new / "data" / "2").write_text("two")
        (new / "list").write_text("1 2")
        assert names(place / "data") == ["1"] and (place / "list").read_text() == "1"
    assert names(tmp_path) == ["set"] and names(place) == ["data", "link", "list"]
    assert names(place / "data") == ["1", "2"] and (place / "list").read_text() == "1 2"
    assert (place / "link").is_symlink()


def test_adding_that_fails_leaves_the_folder(tmp_path: Path) -> None:
    place = added_to(tmp_path)
    with pytest.raises(KeyError), add_to_folder_beside(place, marker="list") as new:
        (new / "data" / "2").write_text("two")
        raise KeyError
    assert names(tmp_path) == ["set"] and names(place / "data") == ["1"]
    for other in (place / "data", tmp_path / "none"):
        with (
            pytest.raises(UsageError, match="nothing to add to"),
            add_to_folder_beside(other, marker="list"),
        ):
            raise AssertionError
    assert names(tmp_path) == ["set"]


@pytest.mark.parametrize("gone", [True, False])
def test_what_was_changed_meanwhile_is_not_replaced(tmp_path: Path, gone: bool) -> None:
    place = added_to(tmp_path)
    with (
        pytest.raises(UsageError, match="changed meanwhile"),
        add_to_folder_beside(place, marker="list"),
    ):
        if gone:
            place.rename(tmp_path / "moved")
        else:
            (place / "list").write_text("1 3")
    assert names(tmp_path) == ["moved" if gone else "set"]
