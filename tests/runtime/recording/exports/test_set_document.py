"""JSON of an exported set: what is missing, of another kind, or no text is an error of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vidtok_edge.errors import DatasetError
from vidtok_edge.runtime.recording.exports.existing import Existing
from vidtok_edge.runtime.recording.exports.exporting import export_recording
from vidtok_edge.runtime.recording.exports.set_document import Document, said

HALF = json.dumps({"file": "a\ud800", "files": ["\udfff"], "\ud801": {}, "inside": {"\ud801": {}}})


def test_half_of_a_pair_is_no_text() -> None:
    document = Document.parse("a.json", HALF.encode())
    for ask in (
        lambda: document.text("file"),
        lambda: document.texts("files"),
        lambda: list(document.members("inside")),
    ):
        with pytest.raises(DatasetError, match=r"is damaged: .*\\ud"):
            ask()


def test_what_is_nested_too_deeply_is_said_so() -> None:
    deep: object = []
    for _ in range(100_000):
        deep = [deep]
    assert said(deep) == "something nested too deeply" or said(deep).startswith("[[")
    while isinstance(deep, list) and deep:  # freed one by one
        deep = deep.pop()


def test_a_set_that_lacks_what_it_was_made_of(tmp_path: Path) -> None:
    from stories import eventful

    recording = eventful(tmp_path / "a.mcap")
    export_recording(recording, tmp_path / "set", "npz", gaps="keep")
    path = tmp_path / "set" / "recording.json"
    document = json.loads(path.read_text())
    for name in ("sources", "data", "events"):
        path.write_text(json.dumps({key: document[key] for key in document if key != name}))
        with pytest.raises(DatasetError, match=f"{name} is missing"):
            Existing.of(tmp_path / "set", "npz").recordings()
