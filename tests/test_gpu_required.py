"""A test that needs a GPU cannot be skipped in silence where one is said to be."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import conftest
import pytest
from gpu_required import BACKENDS, REQUIRE, required_backends


def outcome(marker: Any, value: str, monkeypatch: pytest.MonkeyPatch, was: str = "skipped") -> Any:
    """What the hook makes of a report."""
    monkeypatch.setenv(REQUIRE, value)
    mark = None if marker is None else marker.mark
    item = SimpleNamespace(get_closest_marker=lambda name: mark)
    report = SimpleNamespace(outcome=was, skipped=was == "skipped", longrepr="why")
    hook = conftest.pytest_runtest_makereport(
        cast(Any, item), cast(Any, SimpleNamespace(excinfo="no GPU"))
    )
    next(hook)
    with pytest.raises(StopIteration) as done:
        hook.send(cast(Any, report))
    assert done.value.value is report
    return report


@pytest.mark.parametrize(
    ("marker", "value", "fails"),
    [
        (pytest.mark.gpu, "1", True),
        (pytest.mark.gpu("tensorrt-rtx"), "1", True),
        (pytest.mark.gpu, "cuda,tensorrt", True),
        (pytest.mark.gpu("tensorrt"), "cuda, tensorrt", True),
        (pytest.mark.gpu("tensorrt-rtx"), "cuda,tensorrt", False),
        (pytest.mark.gpu, "", False),
        (pytest.mark.gpu("cuda"), "0", False),
        (None, "1", False),
    ],
)
def test_what_is_skipped_has_failed_where_it_must_run(
    marker: Any, value: str, fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = outcome(marker, value, monkeypatch)
    assert (report.outcome == "failed") is fails
    assert (report.longrepr == f"skipped, but {REQUIRE}={value}: no GPU") is fails


@pytest.mark.parametrize("was", ["passed", "failed"])
def test_what_ran_stays_as_it_is(was: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert outcome(pytest.mark.gpu, "1", monkeypatch, was).outcome == was


def test_a_backend_that_there_is_not_is_refused() -> None:
    with pytest.raises(pytest.UsageError, match="names tensor; use 1, or some of cuda, tensorrt"):
        required_backends("cuda,tensor")


def test_each_backend_is_marked_with_its_name() -> None:
    for param in BACKENDS:
        assert [mark.args for mark in param.marks] == [param.values]
