"""JSON of an exported set: what is missing, of another kind, or no text is an error of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vidtok_edge.errors import DatasetError
from vidtok_edge.runtime.recording.exports.existing import Existing, recording_of
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


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 1, 0, 2]])
def test_the_recording_of_an_episode_is_found_in_any_order(order: list[int]) -> None:
    counts, firsts = [3, 0, 1, 4], [0, 3, 3, 4]
    told = [{"file": str(n), "first_episode": firsts[n], "episodes": counts[n]} for n in order]
    document = Document("set", {"recordings": told})
    found = [recording_of(document, episode).text("file") for episode in range(sum(counts))]
    assert found == list("00023333")
    for given in (document, Document("none", {"recordings": []})):
        with pytest.raises(DatasetError, match="without one that has episode 8"):
            recording_of(given, 8)


def test_of_many_recordings_few_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    told = [{"first_episode": n, "episodes": 1} for n in range(1000)]
    looked, at = [0], Document.at

    def counted(document: Document, name: str, number: int) -> Document:
        looked[0] += 1
        return at(document, name, number)

    monkeypatch.setattr(Document, "at", counted)
    assert recording_of(Document("set", {"recordings": told}), 990).whole("first_episode") == 990
    assert looked[0] < 20
