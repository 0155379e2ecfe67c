"""Tables in Markdown files say what their JSON says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest

ROOT = Path(__file__).resolve().parents[2]
if not (ROOT / "benchmarks").is_dir():
    pytest.skip("the benchmarks are those of a git checkout", allow_module_level=True)

from tables import COLUMNS, Column, documents, markdown_of, measured_tables, rewritten  # noqa: E402

DOCUMENTS = [str(path.relative_to(ROOT)) for path in documents()]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_tables_are_those_of_the_measurements(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    assert rewritten(text, measured_tables()) == text, "run `make tables`"


def test_every_measurement_is_shown_somewhere() -> None:
    shown = "".join((ROOT / document).read_text(encoding="utf-8") for document in DOCUMENTS)
    for name in measured_tables():
        assert name in COLUMNS and f"<!-- table: {name} -->" in shown


def written(folder: Path, rows: list[dict[str, Any]], name: str = "engines") -> Path:
    facts = {"machine": "m", "commit": "c", "how": "h"}
    folder.mkdir(exist_ok=True)
    (folder / "a.json").write_text(json.dumps({**facts, "tables": {name: rows}}))
    return folder


ROW = {"models": "one", "built": 1, "asked": 2, "refused": "fp32"}


def test_a_number_that_changed_is_seen(tmp_path: Path) -> None:
    before = measured_tables(written(tmp_path, [ROW]))
    after = measured_tables(written(tmp_path, [{**ROW, "built": 2}]))
    text = rewritten("# Title\n\n<!-- table: engines -->\nold\n<!-- end -->\nmore\n", before)
    assert "| one | 1 | 2 | fp32 |\n" in text and "old" not in text
    assert text.startswith("# Title") and text.endswith("<!-- end -->\nmore\n")
    assert rewritten(text, before) == text != rewritten(text, after)
    assert "Machine: m." in text and "Commit: c." in text


def test_a_column_is_left_out_of_what_was_measured_before_it() -> None:
    columns = [Column("a", lambda row: row["a"]), Column("b", lambda row: row["b"], later="b")]
    assert markdown_of(columns, [{"a": "1"}]) == "| a |\n| --- |\n| 1 |\n"
    assert markdown_of(columns, [{"a": "1", "b": "2"}]).startswith("| a | b |\n")


@pytest.mark.parametrize(
    "text, message",
    [
        ("<!-- table: nothing -->\n<!-- end -->", "no table nothing; there are engines"),
        ("<!-- table: engines -->\n", "has no"),
        ("<!-- table: engines -->\n<!-- table: engines -->\n<!-- end -->", "has no"),
    ],
)
def test_marks_that_are_wrong(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(click.ClickException, match=message):
        rewritten(text, measured_tables(written(tmp_path, [ROW])))


def test_a_file_that_no_benchmark_wrote(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[]")
    with pytest.raises(click.ClickException, match="is not what a benchmark writes"):
        measured_tables(tmp_path)
