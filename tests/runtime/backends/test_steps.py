"""What every backend promises of a step, on a graph small enough to know the answer of."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_gpu import FakeApi
from fake_tensorrt import fake_engine
from gpu_required import BACKENDS
from tiny_calls import run_flat

from vidtok_edge.errors import BackendUnavailable, MissingDependency, StreamError
from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.backends.backend import Backend, Target
from vidtok_edge.runtime.backends.choosing import open_step
from vidtok_edge.runtime.backends.gpu import present_gpu
from vidtok_edge.runtime.backends.step import Step

STEPS = [
    "cpu",
    "openvino",
    "engine on a fake GPU",
    *BACKENDS,
]


def opened(backend: str, folder: Path, to_compare: bool = False) -> Step:
    graph = Bundle.load(folder).manifest.graph("encoder")
    if backend == "engine on a fake GPU":
        return fake_engine(graph, folder / graph.file, FakeApi(), to_compare=to_compare)
    if backend.startswith("tensorrt") and present_gpu() is not None:
        from vidtok_edge.runtime.backends.engines.building.build import (
            BuildRequest,
            build_engines,
            plan_engines,
        )

        build_engines(plan_engines(BuildRequest(folder, Target(backend))))
    return open_step(folder, graph, Backend(backend), to_compare=to_compare)


@pytest.fixture(scope="module")
def folder(tiny_original: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny bundle that engines can be built in."""
    return Path(shutil.copytree(tiny_original, tmp_path_factory.mktemp("steps") / "bundle"))


@pytest.fixture(params=STEPS)
def step(request: pytest.FixtureRequest, folder: Path) -> Iterator[Step]:
    with opened_or_skipped(request.param, folder) as step:
        yield step


def opened_or_skipped(backend: str, folder: Path, **options: bool) -> Step:
    try:
        return opened(backend, folder, **options)
    except (BackendUnavailable, MissingDependency) as error:
        pytest.skip(str(error))


def test_state_goes_from_call_to_call(step: Step) -> None:
    assert run_flat(step, (3, 5), start=True) == [3, 5]
    expected = np.array([3, 5])
    for k in range(1, 20):
        expected += (k, 2 * k)
        assert run_flat(step, (k, 2 * k)) == expected.tolist()
        assert step.caches()["cache_000"][:, 0].tolist() == expected.tolist()


def test_an_idle_slot_keeps_its_cache(step: Step) -> None:
    run_flat(step, (3, 5), start=True)
    for _ in range(3):
        run_flat(step, (1, 9), ready=[True, False])
    assert step.caches()["cache_000"][:, 0].tolist() == [6, 5]


def test_nothing_of_old_caches_survives_a_start(step: Step) -> None:
    step.set_caches({"cache_000": np.full((2, 1), np.nan, np.float32)})
    assert run_flat(step, (3, 5), start=True) == [3, 5]


def test_buffers_are_the_same_for_life(step: Step) -> None:
    before = {**step.inputs, **step.outputs}
    assert all(not array.any() for array in step.inputs.values()), "zeros at first"
    addresses = {name: array.ctypes.data for name, array in before.items()}
    for _ in range(5):
        run_flat(step, (1, 1))
    after = {**step.inputs, **step.outputs}
    assert all(after[name] is before[name] for name in before)
    assert {name: array.ctypes.data for name, array in after.items()} == addresses


@pytest.mark.parametrize("backend", STEPS)
def test_what_streams_do_not_read_is_there_to_be_compared(backend: str, folder: Path) -> None:
    with opened_or_skipped(backend, folder) as step:
        assert set(step.outputs) == {"tokens"}
    with opened_or_skipped(backend, folder, to_compare=True) as step:
        assert run_flat(step, (3, 5), start=True) == [3, 5]
        assert step.outputs["latent"][:, 0, 0, 0].tolist() == [3, 5]


def test_caches_are_copies_that_can_be_given_back(step: Step) -> None:
    run_flat(step, (3, 5), start=True)
    kept = step.caches()
    run_flat(step, (7, 7))
    assert kept["cache_000"][:, 0].tolist() == [3, 5], "a copy"
    step.set_caches(kept)
    kept["cache_000"][:] = 99
    assert run_flat(step, (1, 1)) == [4, 6]


@pytest.mark.parametrize(
    ("caches", "got"),
    [
        ({}, "nothing"),
        ({"cache_000": np.zeros((1, 1), np.float32)}, r"float32 \[1, 1\]"),
        ({"cache_000": np.zeros((2, 1), np.float64)}, r"float64 \[2, 1\]"),
    ],
)
def test_caches_that_do_not_fit(step: Step, caches: Any, got: str) -> None:
    with pytest.raises(StreamError, match=f"was given {got}"):
        step.set_caches(caches)


def test_where_the_time_of_a_call_went(step: Step) -> None:
    assert step.times.compute_ns == 0, "before the first"
    run_flat(step, (1, 1))
    assert step.times.compute_ns > 0
    assert (step.times.upload_ns > 0) is not Backend(step.info.active).on_cpu
    assert (step.times.download_ns > 0) is step.info.active.startswith("tensorrt")


def test_a_closed_step_says_so(step: Step) -> None:
    kept = step.caches()
    step.close()
    for use in (step.run, step.caches, lambda: step.set_caches(kept)):
        with pytest.raises(StreamError, match=r"step is closed\. Get a new one from the bundle"):
            use()
    step.close()
