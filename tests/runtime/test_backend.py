"""The protocol of a step: what the fake of the tests has, the real one has too."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_step import FakeStep, fake_manifest

from vidtok_edge.runtime.backend import BACKENDS, BackendInfo, Step
from vidtok_edge.runtime.onnxruntime_backend import INSTALL, PROVIDERS, OnnxRuntimeStep


def test_both_steps_keep_the_protocol(tiny: Path) -> None:
    fake: Step = FakeStep(fake_manifest(), "encoder")  # mypy compares the signatures
    members = {name for name in vars(Step) if not name.startswith("_")} | set(Step.__annotations__)
    assert members >= {"run", "caches", "set_caches", "close", "graph", "info", "inputs", "outputs"}
    assert all(hasattr(fake, name) for name in members)
    assert all(hasattr(OnnxRuntimeStep, name) for name in members - set(Step.__annotations__))


def test_every_backend_has_a_provider_and_a_line_that_installs_it() -> None:
    assert set(BACKENDS) == set(PROVIDERS) == set(INSTALL)


@pytest.mark.parametrize("why", ["", "cuda: no driver"])
def test_info_is_false_after_a_fallback(why: str) -> None:
    info = BackendInfo("auto", "cpu", "onnxruntime 1", why)
    assert bool(info) is (why == "")
    assert (why in str(info)) and ("fell back" in str(info)) is bool(why)
