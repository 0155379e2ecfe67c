"""The rooms of the house: who imports whom is as ARCHITECTURE.md says, and arrows run one way."""

from __future__ import annotations

import importlib
import shutil
import sys
from collections import defaultdict
from pathlib import Path

import pytest
from rooms import ROOT, Import, Room, circles, imports_of, modules, room_of, rooms

LARGEST_SHARE = 0.15

pytestmark = pytest.mark.skipif(
    not (ROOT / "ARCHITECTURE.md").exists(), reason="the table is that of a git checkout"
)


def imports(root: Path = ROOT) -> list[Import]:
    known = modules(root)
    return [found for name, path in known.items() for found in imports_of(name, path, known)]


def broken(found: list[Import], table: dict[str, Room]) -> list[str]:
    """What the table does not allow."""
    wrong = []
    for item in found:
        here = room_of(item.module, table)
        assert here is not None, f"{item.module} lies in no room of the table"
        if item.ours:
            there = room_of(item.target, table)
            allowed = there == here or there in table[here].may_import
        else:
            # Python 3.10 has no tomllib, and our code asks first.
            standard = item.target in {*sys.stdlib_module_names, "tomllib"}
            allowed = standard or item.target in table[here].packages
        if not allowed:
            wrong.append(f"{item.module} imports {item.target}")
    return wrong


def test_rooms_import_what_the_table_allows() -> None:
    assert broken(imports(), rooms()) == []


def test_the_table_allows_nothing_that_nobody_uses() -> None:
    used = defaultdict(set)
    table = rooms()
    for item in imports():
        here = room_of(item.module, table)
        used[here].add(room_of(item.target, table) if item.ours else item.target)
    for room in table.values():
        assert set((*room.may_import, *room.packages)) - used[room.name] == set(), room.name


def test_rooms_and_modules_import_in_no_circle() -> None:
    table = rooms()
    assert circles({room.name: room.may_import for room in table.values()}) == []
    arrows: dict[str, list[str]] = defaultdict(list)
    for item in imports():
        if item.ours and not item.typing:
            arrows[item.module].append(item.target)
    assert circles(arrows) == []


def test_no_room_is_too_large() -> None:
    """A room of the second floor counts with the rooms inside it."""
    lines: dict[str, int] = defaultdict(int)
    for name, path in modules().items():
        parts = name.split(".")
        floor = parts[:2] if parts[0] == "runtime" and len(parts) > 1 else parts[:1]
        lines["/".join(floor)] += len(path.read_text("utf-8").splitlines())
    largest = max(lines, key=lambda room: lines[room])
    share = lines[largest] / sum(lines.values())
    assert share <= LARGEST_SHARE, f"{largest} holds {share:.1%} of the product"


def test_the_picture_is_that_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "docs" / "figures")
    draw_rooms = importlib.import_module("draw_rooms")
    drawn = (ROOT / "docs" / "figures" / "rooms.svg").read_text("utf-8")
    assert drawn == draw_rooms.picture(rooms()), "run: python docs/figures/draw_rooms.py"


@pytest.mark.parametrize(
    ("file", "line", "said"),
    [
        ("runtime/streaming/slots.py", "import torch", "runtime.streaming.slots imports torch"),
        (
            "runtime/recording/format/reader.py",
            "from vidtok_edge.runtime.viewing.shown import Shown",
            "runtime.recording.format.reader imports runtime.viewing.shown",
        ),
        (
            "calib/ranges.py",
            "from vidtok_edge.export.graphs.graph import write_graph",
            "calib.ranges imports export.graphs.graph",
        ),
        (
            "runtime/files.py",
            "def f() -> None:\n    from vidtok_edge.runtime.bundle import Bundle",
            "runtime.files imports runtime.bundle",
        ),
    ],
)
def test_an_import_against_the_table_is_seen(
    file: str, line: str, said: str, tmp_path: Path
) -> None:
    for path in modules().values():
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    with (tmp_path / file).open("a", encoding="utf-8") as changed:
        changed.write(f"\n{line}\n")
    assert broken(imports(tmp_path), rooms()) == [said]


def test_circles_are_found() -> None:
    assert circles({"a": ["b"], "b": ["c"], "c": ["a"], "d": ["a"]}) == [["a", "b", "c"]]
    assert circles({"a": ["b"], "b": ["c"], "c": []}) == []


def test_training_imports_the_reference_alone_and_nothing_imports_it() -> None:
    scripts = {path.stem: path for path in (ROOT / "training").glob("*.py")}
    known = modules()
    ours = {
        found.target
        for name, path in scripts.items()
        for found in imports_of(name, path, known)
        if found.ours
    }
    assert {target.partition(".")[0] for target in ours} == {"errors", "vidtok_ref"}
    assert not [item for item in imports() if item.target in {*scripts, "training"}]
