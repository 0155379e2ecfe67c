"""What `doctor` finds."""

from __future__ import annotations

import importlib.metadata

import pytest

from vidtok_edge.runtime import doctor


def findings() -> dict[str, doctor.Finding]:
    return {finding.name: finding for finding in doctor.examine()}


def test_both_tensorrts_are_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(distribution: str) -> str:
        if distribution in ("tensorrt-cu13", "tensorrt-rtx"):
            return "1.2.3"
        raise importlib.metadata.PackageNotFoundError(distribution)

    monkeypatch.setattr(importlib.metadata, "version", version)
    found = findings()
    assert found["tensorrt"].found == found["tensorrt-rtx"].found == "1.2.3"
    assert not found["torch"] and "vidtok-edge[export]" in found["torch"].install


def test_an_absent_tensorrt_comes_with_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def version(distribution: str) -> str:
        raise importlib.metadata.PackageNotFoundError(distribution)

    monkeypatch.setattr(importlib.metadata, "version", version)
    found = findings()
    assert found["tensorrt"].install == 'pip install "vidtok-edge[tensorrt]"'
    assert found["tensorrt-rtx"].install == 'pip install "vidtok-edge[tensorrt-rtx]"'
