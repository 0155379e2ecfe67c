"""Graphs to be timed: what is written, without the minutes that exporting takes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import full_width
import pytest
from click.testing import CliRunner
from full_width import main

from vidtok_edge.lowering.step import StepOptions


def test_each_form_is_a_bundle_of_fp16_graphs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []

    def write_graphs(
        model: Any, options: StepOptions, folder: Path, weights: Any, numerics: Any
    ) -> Any:
        assert folder.is_dir()
        written.append((folder.name, options, [pair["encoder"].precision for pair in numerics]))
        return SimpleNamespace(path=folder)

    origin = SimpleNamespace(source="random", location="seed 0", sha256="0" * 64)
    monkeypatch.setattr(full_width, "write_graphs", write_graphs)
    monkeypatch.setattr(full_width, "load_weights", lambda name, source: (None, origin))
    done = CliRunner().invoke(main, [str(tmp_path / "full"), "--size", "64"])
    assert done.exit_code == 0, done.output
    assert written == [
        (form, StepOptions(64, 64, form=form), ["fp16"]) for form in ("conv2d", "conv3d")
    ]
    assert [line.rsplit(":", 1)[0] for line in done.output.splitlines()] == [
        str(tmp_path / "full" / form) for form in ("conv2d", "conv3d")
    ]


def test_what_is_there_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "conv2d").mkdir()
    done = CliRunner().invoke(main, [str(tmp_path)])
    assert done.exit_code == 2 and "has conv2d already; name another folder" in done.output
    assert not (tmp_path / "conv3d").exists()
