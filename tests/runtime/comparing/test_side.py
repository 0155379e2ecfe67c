"""Which two sides are compared, and which are not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vidtok_edge.errors import UsageError
from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.backends.backend import Backend
from vidtok_edge.runtime.comparing.side import Side, sides_of


def test_a_side_is_a_backend_and_perhaps_a_precision(tiny: Path) -> None:
    bundle = Bundle.load(tiny)
    assert Side.parse(bundle, "cpu:int8") == Side(bundle, Backend.CPU, "int8")
    assert Side.parse(bundle, "tensorrt-rtx") == Side(bundle, Backend.TENSORRT_RTX, None)
    with pytest.raises(UsageError, match="There is no backend 'coreml'"):
        Side.parse(bundle, "coreml:fp32")


def test_one_bundle_has_two_backends_and_two_bundles_may_share_one(tiny: Path) -> None:
    bundle = Bundle.load(tiny)
    other = replace(bundle, path=tiny / "other")
    assert [str(side.backend) for side in sides_of([bundle], ["cpu", "cuda"])] == ["cpu", "cuda"]
    first, second = sides_of([bundle, other], ["cpu"])
    assert (first.bundle, second.bundle) == (bundle, other)
    assert first.backend is second.backend is Backend.CPU


@pytest.mark.parametrize(
    ("bundles", "backends", "said"),
    [
        (1, ["cpu"], "Both sides are cpu of bundle"),
        (1, ["cpu:fp32", "cpu:fp32"], "Give two backends or precisions"),
        (1, ["cpu", "cuda", "tensorrt"], r"got 1 bundle\(s\) and 3 backend\(s\)"),
        (3, ["cpu"], r"got 3 bundle\(s\) and 1 backend\(s\)"),
        (1, [], "Two sides are compared"),
    ],
)
def test_what_are_no_two_sides(tiny: Path, bundles: int, backends: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        sides_of([Bundle.load(tiny)] * bundles, backends)


@pytest.mark.parametrize("fact", [{"height": 24}, {"chunk": 2}, {"io": "float"}])
def test_bundles_of_other_frames_are_refused(tiny: Path, fact: dict[str, Any]) -> None:
    bundle = Bundle.load(tiny)
    other = replace(bundle, manifest=replace(bundle.manifest, **fact))
    with pytest.raises(UsageError, match=f"of another model or size than .*: {next(iter(fact))} "):
        sides_of([bundle, other], ["cpu"])
