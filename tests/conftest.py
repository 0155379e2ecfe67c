"""VIDTOK_EDGE_REQUIRE_GPU=1, on a machine that should have one: a skipped `gpu` test has failed."""

from __future__ import annotations

import os
from collections.abc import Generator
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
