"""Copies inside a CUDA graph, on the fake GPU: the same tokens, fewer calls of CUDA."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import captured_copies
import numpy as np
import pytest
from captured_copies import copies_inside, measured, tokens_of
from click.testing import CliRunner
from fake_gpu import FakeApi
from fake_tensorrt import FakeTensorRT, fake_engine

from vidtok_edge.errors import UsageError
from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.backends.engines.memory import Memory
from vidtok_edge.runtime.backends.engines.step import EngineStep


def encoder(folder: Path, api: FakeApi, **options: Any) -> EngineStep:
    graph = Bundle.load(folder).manifest.graph("encoder")
    return fake_engine(graph, folder / graph.file, api, **options)


def calls_of_cuda(api: FakeApi) -> int:
    return sum(count for name, count in api.calls.items() if not name.startswith("cudaGetError"))


def test_a_call_gives_the_same_tokens_with_fewer_calls_of_cuda(tiny: Path) -> None:
    api = FakeApi()
    with encoder(tiny, api) as step, copies_inside(step) as inside:
        wanted, found = tokens_of(step, step.run), tokens_of(step, inside)
        np.testing.assert_array_equal(wanted, found)
        assert len({tokens.tobytes() for tokens in wanted}) > 1
        counts = []
        for run in (step.run, inside):
            before = calls_of_cuda(api)
            run()
            counts.append(calls_of_cuda(api) - before)
        assert counts[1] == 2 < counts[0], "a launch and a wait"


def test_a_stream_may_go_on_in_the_other_way(tiny: Path) -> None:
    with encoder(tiny, FakeApi()) as step, copies_inside(step) as inside:
        wanted = tokens_of(step, step.run)
        ways = iter([step.run, inside, inside, step.run, inside, step.run])
        found = tokens_of(step, lambda: next(ways)())
    np.testing.assert_array_equal(wanted, found)


def test_what_is_found_is_written_and_tokens_that_differ_are_a_failure(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(folder: Path, graph: Any, target: Any) -> EngineStep:
        return encoder(tiny, FakeApi())

    monkeypatch.setattr(captured_copies, "open_engine", opened)
    out = tmp_path / "result.json"
    options = [str(tiny), str(out), "--precision", "fp32", "--calls", "1"]
    done = CliRunner().invoke(captured_copies.main, options)
    assert done.exit_code == 0, done.output
    result = json.loads(out.read_text())["captured_copies"]
    assert result["equal"] and result["inside_ms"] > 0
    assert result["least_gained_us"] <= result["gained_us"] <= result["most_gained_us"]

    real = captured_copies.tokens_of

    def other(step: EngineStep, run: Any) -> Any:
        tokens = real(step, run)
        return tokens if run == step.run else [one + 1 for one in tokens]

    monkeypatch.setattr(captured_copies, "tokens_of", other)
    assert CliRunner().invoke(captured_copies.main, options).exit_code == 1


def test_an_engine_without_such_copies_or_graphs_is_refused(tiny: Path) -> None:
    with (
        encoder(tiny, FakeApi(), memory=Memory.MAPPED) as step,
        pytest.raises(UsageError, match="the host shares the engine's memory"),
    ):
        measured(step, "fp32", 1)
    api = FakeApi()
    library = FakeTensorRT(api)
    library.failing = {"capture"}
    with (
        encoder(tiny, api, library=library) as step,
        pytest.raises(UsageError, match="calls are not CUDA graphs"),
    ):
        measured(step, "fp32", 1)
