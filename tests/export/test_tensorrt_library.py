"""TensorRT as it may be found: absent, broken, old; and what it can build for."""

from __future__ import annotations

import importlib
import platform
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import pytest

from vidtok_edge.errors import BackendUnavailable, MissingDependency, UsageError
from vidtok_edge.export import tensorrt_library
from vidtok_edge.export.tensorrt_api import TensorRT
from vidtok_edge.export.tensorrt_library import build_hosts, gpu_targets, load_tensorrt
from vidtok_edge.runtime.gpu import Gpu

ORIN = Gpu("Orin", "sm87", 8 << 30)


def module(version: str, *gpus: str) -> TensorRT:
    """A TensorRT of that version; with `gpus`, one that builds ahead of time for them."""
    library: Any = SimpleNamespace(__version__=version)
    if gpus:
        library.ComputeCapability = SimpleNamespace(
            __members__=dict.fromkeys(["NONE", "CURRENT", *gpus])
        )
    return cast(TensorRT, library)


def importing(monkeypatch: pytest.MonkeyPatch, result: Exception | TensorRT) -> None:
    def import_module(name: str) -> ModuleType:
        if isinstance(result, Exception):
            raise result
        return cast(ModuleType, result)

    monkeypatch.setattr(importlib, "import_module", import_module)


@pytest.mark.parametrize("target", ["tensorrt", "tensorrt-rtx"])
def test_an_absent_tensorrt_comes_with_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    name = target.replace("-", "_")
    importing(monkeypatch, ModuleNotFoundError(f"No module named {name!r}", name=name))
    with pytest.raises(MissingDependency, match=rf'pip install "vidtok-edge\[{target}\]"'):
        load_tensorrt(target)


def test_on_a_jetson_it_comes_from_jetpack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    importing(monkeypatch, ModuleNotFoundError("No module named 'tensorrt'", name="tensorrt"))
    with pytest.raises(BackendUnavailable, match="--system-site-packages"):
        load_tensorrt("tensorrt")


@pytest.mark.parametrize(
    "error",
    [
        ImportError("libnvdla_compiler.so: cannot open shared object file"),
        OSError("libnvinfer.so.10: cannot open shared object file"),
        ModuleNotFoundError("No module named 'tensorrt_bindings'", name="tensorrt_bindings"),
    ],
)
def test_a_tensorrt_that_does_not_load_says_why(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    importing(monkeypatch, error)
    with pytest.raises(BackendUnavailable, match="installed but does not load") as caught:
        load_tensorrt("tensorrt")
    assert str(error) in str(caught.value) and caught.value.exit_code == 4


def test_an_old_tensorrt_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    importing(monkeypatch, module("8.6.2"))
    with pytest.raises(BackendUnavailable, match=r"8\.6\.2 is older than 10\.3.*JetPack 6\.1"):
        load_tensorrt("tensorrt")


def test_an_unknown_target_is_refused() -> None:
    with pytest.raises(UsageError, match="use tensorrt or tensorrt-rtx"):
        load_tensorrt("openvino")


def test_rtx_names_the_gpus_it_builds_for() -> None:
    rtx = module("1.7.1", "SM120", "SM75", "SM86")
    assert gpu_targets(rtx) == ("sm75", "sm86", "sm120")
    hosts = build_hosts("tensorrt-rtx", rtx, ["SM86", "12.0", "sm86"])
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
    monkeypatch.setattr(tensorrt_library, "present_gpu", lambda: None)
    with pytest.raises(UsageError, match=message):
        build_hosts("tensorrt-rtx", module("1.7.1", "SM75", "SM86"), gpus)


def test_rtx_without_gpus_named_builds_for_the_one_present() -> None:
    desk = Gpu("NVIDIA RTX A2000", "sm86", 6 << 30)
    [host] = build_hosts("tensorrt-rtx", module("1.7.1", "SM86"), [], desk)
    assert host.gpu == "sm86"
    with pytest.raises(UsageError, match="Jetson Orin"):
        build_hosts("tensorrt-rtx", module("1.7.1", "SM86"), [], ORIN)


def test_classic_tensorrt_builds_for_the_gpu_present_only(monkeypatch: pytest.MonkeyPatch) -> None:
    classic = module("10.3.0")
    [host] = build_hosts("tensorrt", classic, [], ORIN)
    assert (host.gpu, host.gpu_name, host.version) == ("sm87", "Orin", "10.3.0")
    assert build_hosts("tensorrt", classic, ["8.7"], ORIN) == [host]
    with pytest.raises(UsageError, match=r"sm87 \(Orin\), not for sm86"):
        build_hosts("tensorrt", classic, ["sm86"], ORIN)
    monkeypatch.setattr(tensorrt_library, "present_gpu", lambda: None)
    with pytest.raises(BackendUnavailable, match="no GPU was found"):
        build_hosts("tensorrt", classic, [])
