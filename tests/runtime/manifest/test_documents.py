"""Documents: what is of a kind is read; of anything else, what is wrong with it is said."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from vidtok_edge.errors import OutputExists
from vidtok_edge.runtime.manifest.documents import DocumentKind, SchemaUnknown, write_document


@dataclass(frozen=True)
class Point:
    schema: int
    x: float


KIND = DocumentKind(schema=3, largest=1 << 20)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_document(tmp_path / "a.json", asdict(Point(3, 0.5)))
    assert KIND.load(Point, tmp_path / "a.json") == Point(3, 0.5)
    assert (tmp_path / "a.json").read_text() == '{\n "schema": 3,\n "x": 0.5\n}\n'


def test_nothing_is_replaced_unasked_and_nothing_half_written(tmp_path: Path) -> None:
    write_document(tmp_path / "a.json", [1])
    with pytest.raises(OutputExists):
        write_document(tmp_path / "a.json", [2], force=False)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_document(tmp_path / "a.json", [float("nan")])
    assert (tmp_path / "a.json").read_text() == "[\n 1\n]\n"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "Expecting value"),
        (b"\xff", "not UTF-8 text"),
        (b"[" * 100_000, "recursion"),
        (b" " * (1 << 20) + b"1", "larger than 1 MiB"),
        (b"[3]", "its schema is unknown, this toolkit reads 3"),
        (b'{"schema": "3"}', "its schema is unknown, this toolkit reads 3"),
        (b'{"schema": true}', "its schema is True, this toolkit reads 3"),
        (b'{"schema": 4}', "its schema is 4, this toolkit reads 3"),
        (b'{"schema": 3}', "x is missing"),
        (b'{"schema": 3, "x": ' + b"[" * 400 + b"]" * 400 + b"}", "x: expected a finite number"),
    ],
    ids=range(10),
)
def test_what_is_of_no_kind(content: bytes, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ValueError, match=sentence) as caught:
        KIND.load(Point, tmp_path / "a.json")
    assert isinstance(caught.value, SchemaUnknown) == ("schema" in sentence)


def test_a_kind_has_its_own_sentences() -> None:
    kind = DocumentKind(schema=1, no_object="no object", other_schema="{value!r}, not {schema}")
    with pytest.raises(ValueError, match=r"^no object$"):
        kind.parsed("[]")
    with pytest.raises(SchemaUnknown, match=r"^None, not 1$"):
        kind.parsed("{}")
