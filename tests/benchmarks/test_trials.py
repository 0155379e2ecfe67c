"""The command of trials: its result, its list, and what it leaves alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trials
from click.testing import CliRunner
from engine_trials import timing
from engine_trials.forms import TRIAL_FORMS
from engine_trials.making import Made
from engine_trials.reference import Agreement
from engine_trials.result import layers_beside, rows_of
from engine_trials.timing import Timed
from engine_trials.tools import BuiltEngine, WrittenGraph
from engine_trials.trial import Trial, trials_of

GRAPH = WrittenGraph(2.0, {"Conv": 40, "Add": 10})
ENGINE = BuiltEngine(30.0, 1.5)


def invoke(*arguments: str | Path) -> Any:
    return CliRunner().invoke(trials.main, [str(argument) for argument in arguments])


def test_the_result_has_what_the_table_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = trials_of("embedded-encoder-conv3d,embedded-decoder-chunk-tail,full-encoder-conv3d")

    def made(given: Sequence[Trial], **options: Any) -> list[Made]:
        assert [*given] == chosen and options["seconds"] == 5
        built = [Made(trial, "built", graph=GRAPH, engine=ENGINE) for trial in chosen[:2]]
        return [*built, Made(chosen[2], "not reached", "not written: it was not begun")]

    def time_engine(trt: Any, runtime: Any, file: Path, trial: Trial, size: int) -> Timed:
        if trial.kind == "decoder":
            raise RuntimeError("CUDA error: an illegal memory access")
        found = Agreement(0.99, None)
        layers = [{"Name": "a", "LayerType": "conv", "ms": 0.3}]
        return Timed(0.4, 0.3, 0.2, 5.0, {"conv": (1, 0.3)}, layers, found)

    monkeypatch.setattr(trials, "make", made)
    monkeypatch.setattr(trials, "_require_tensorrt", lambda: SimpleNamespace())
    monkeypatch.setattr(trials, "_runtime", lambda trt: None)
    monkeypatch.setattr(timing, "time_engine", time_engine)
    names = ",".join(trial.name for trial in chosen)
    done = invoke(tmp_path / "a", "--trials", names, "--seconds", "5")
    assert done.exit_code == 1, "a trial failed"
    path = tmp_path / "a" / "result.json"
    document = json.loads(path.read_text())
    first, second, third = rows_of(document)
    assert first == {
        "trial": "embedded-encoder-conv3d",
        "nodes": 50,
        "CUDA graph ms": 0.4,
        "least ms": 0.3,
        "back to back ms": 0.2,
        "layers": 1,
        "dearest": "1 conv 0.3 ms",
        "tokens equal": 0.99,
        "pictures, dB": None,
        "built in s": 30.0,
        "why not": "",
    }
    assert second["why not"] == "not timed: RuntimeError: CUDA error: an illegal memory access"
    assert third["why not"] == "not written: it was not begun" and third["layers"] is None
    assert document["size"] == 256 and document["machine"]["cores"] > 0
    assert json.loads(layers_beside(path).read_text())["embedded-encoder-conv3d"][0]["Name"] == "a"
    assert "| embedded-encoder-conv3d |" in done.output
    assert rows_of({"results": []}) == []


def test_the_list_says_what_is_hoped_of_each_form() -> None:
    done = invoke("--list")
    assert done.exit_code == 0
    for name, form in TRIAL_FORMS.items():
        assert f"  {name}: {form.hypothesis}" in done.output
    assert "  embedded-encoder-conv3d\n" in done.output


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    done = invoke(tmp_path, "--write-only")
    assert done.exit_code == 2 and "is not empty. Name another folder" in done.output
    done = invoke(tmp_path / "new", "--write-only", "--size", "30")
    assert done.exit_code == 2 and "30" in done.output
    done = invoke(tmp_path / "other", "--write-only", "--output", tmp_path / "no" / "result.json")
    assert done.exit_code and "no" in done.output
    done = invoke("--write-only")
    assert done.exit_code == 2 and "Name a folder for graphs and engines" in done.output
