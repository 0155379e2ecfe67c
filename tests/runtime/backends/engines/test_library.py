"""TensorRT as it may be found: absent, broken, old."""

from __future__ import annotations

import importlib
import platform
from types import ModuleType, SimpleNamespace
from typing import cast

import pytest

from vidtok_edge.errors import BackendUnavailable, MissingDependency, UsageError
from vidtok_edge.runtime.backends.backend import Target
from vidtok_edge.runtime.backends.engines.api import TensorRT
from vidtok_edge.runtime.backends.engines.library import load_tensorrt


def module(version: str) -> TensorRT:
    """A TensorRT of that version."""
    return cast(TensorRT, SimpleNamespace(__version__=version))


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
    name = Target(target).module
    importing(monkeypatch, ModuleNotFoundError(f"No module named {name!r}", name=name))
    with pytest.raises(MissingDependency, match=rf'pip install "vidtok-edge\[{target}\]"'):
        load_tensorrt(Target(target))


def test_on_a_jetson_it_comes_from_jetpack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    importing(monkeypatch, ModuleNotFoundError("No module named 'tensorrt'", name="tensorrt"))
    with pytest.raises(BackendUnavailable, match="--system-site-packages"):
        load_tensorrt(Target.TENSORRT)


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
        load_tensorrt(Target.TENSORRT)
    assert str(error) in str(caught.value) and caught.value.exit_code == 4


def test_an_old_tensorrt_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    importing(monkeypatch, module("8.6.2"))
    with pytest.raises(BackendUnavailable, match=r"8\.6\.2 is older than 10\.3.*JetPack 6\.1"):
        load_tensorrt(Target.TENSORRT)


def test_an_unknown_target_is_refused() -> None:
    with pytest.raises(UsageError, match="use tensorrt or tensorrt-rtx"):
        Target.named("openvino")
