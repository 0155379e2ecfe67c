"""What a TensorRT can build for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from vidtok_edge.errors import BackendUnavailable, UsageError
from vidtok_edge.runtime.backends.backend import Target
from vidtok_edge.runtime.backends.engines.api import TensorRT
from vidtok_edge.runtime.backends.engines.building import targets as engine_targets
from vidtok_edge.runtime.backends.engines.building.targets import build_hosts, gpu_targets
from vidtok_edge.runtime.backends.gpu import Gpu

ORIN = Gpu("Orin", "sm87", 8 << 30)


def module(version: str, *gpus: str) -> TensorRT:
    """A TensorRT of that version; with `gpus`, one that builds ahead of time for them."""
    library: Any = SimpleNamespace(__version__=version)
    if gpus:
        library.ComputeCapability = SimpleNamespace(
            __members__=dict.fromkeys(["NONE", "CURRENT", *gpus])
        )
    return cast(TensorRT, library)


def test_rtx_names_the_gpus_it_builds_for() -> None:
    rtx = module("1.7.1", "SM120", "SM75", "SM86")
    assert gpu_targets(rtx) == ("sm75", "sm86", "sm120")
    hosts = build_hosts(Target.TENSORRT_RTX, rtx, ["SM86", "12.0", "sm86"])
    assert [(host.gpu, host.gpu_name) for host in hosts] == [("sm86", ""), ("sm120", "")]


@pytest.mark.parametrize(
    ("gpus", "message"),
    [
        (["sm87"], "no Jetson Orin target.*--target tensorrt"),
        (["sm110"], "no Jetson Thor target"),
        (["sm90"], "only for sm75, sm86"),
        (["fast"], "write it as sm86"),
        ([], "--gpu sm75,sm86"),
    ],
)
def test_gpus_that_rtx_cannot_build_for_are_refused(
    monkeypatch: pytest.MonkeyPatch, gpus: list[str], message: str
) -> None:
    monkeypatch.setattr(engine_targets, "present_gpu", lambda: None)
    with pytest.raises(UsageError, match=message):
        build_hosts(Target.TENSORRT_RTX, module("1.7.1", "SM75", "SM86"), gpus)


def test_rtx_without_gpus_named_builds_for_the_one_present() -> None:
    desk = Gpu("NVIDIA RTX A2000", "sm86", 6 << 30)
    [host] = build_hosts(Target.TENSORRT_RTX, module("1.7.1", "SM86"), [], desk)
    assert host.gpu == "sm86"
    with pytest.raises(UsageError, match="Jetson Orin"):
        build_hosts(Target.TENSORRT_RTX, module("1.7.1", "SM86"), [], ORIN)


def test_classic_tensorrt_builds_for_the_gpu_present_only(monkeypatch: pytest.MonkeyPatch) -> None:
    classic = module("10.3.0")
    [host] = build_hosts(Target.TENSORRT, classic, [], ORIN)
    assert (host.gpu, host.gpu_name, host.version) == ("sm87", "Orin", "10.3.0")
    assert build_hosts(Target.TENSORRT, classic, ["8.7"], ORIN) == [host]
    with pytest.raises(UsageError, match=r"sm87 \(Orin\), not for sm86"):
        build_hosts(Target.TENSORRT, classic, ["sm86"], ORIN)
    monkeypatch.setattr(engine_targets, "present_gpu", lambda: None)
    with pytest.raises(BackendUnavailable, match="no GPU was found"):
        build_hosts(Target.TENSORRT, classic, [])
