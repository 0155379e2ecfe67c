"""The tiny bundle, and VIDTOK_EDGE_REQUIRE_GPU=1: a `gpu` test that is skipped has failed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    required = os.environ.get("VIDTOK_EDGE_REQUIRE_GPU") == "1"
    if required and report.skipped and item.get_closest_marker("gpu"):
        report.outcome = "failed"
        report.longrepr = f"skipped, but VIDTOK_EDGE_REQUIRE_GPU=1: {call.excinfo}"
    return report


@pytest.fixture(scope="session")
def tiny_original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny bundle; do not change it."""
    from tiny_bundle import write_tiny_bundle  # imports onnx, which most tests need not wait for

    folder = tmp_path_factory.mktemp("tiny") / "bundle"
    write_tiny_bundle(folder)
    return folder


@pytest.fixture
def tiny(tiny_original: Path, tmp_path: Path) -> Path:
    """The folder of a tiny bundle of the test's own."""
    return Path(shutil.copytree(tiny_original, tmp_path / "bundle"))
