"""The figures of the documents are what the code draws, and readable XML."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

if not (Path(__file__).resolve().parents[2] / "benchmarks").is_dir():
    pytest.skip("the benchmarks are those of a git checkout", allow_module_level=True)

from figures import FIGURES, FOLDER


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_what_the_code_draws(name: str) -> None:
    written = (FOLDER / f"{name}.svg").read_text(encoding="utf-8")
    assert written == FIGURES[name](), "run `python benchmarks/figures.py`"
    assert ElementTree.fromstring(written).tag.endswith("svg")
