"""TensorRT 10 ends the whole process where its builder or runtime is made and no driver is there.

So nothing of ours makes one before it has found a GPU.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn, cast

import pytest
from click.testing import CliRunner

from vidtok_edge.cli import main
from vidtok_edge.errors import EngineMissing
from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.backends import choosing
from vidtok_edge.runtime.backends.backend import Backend, Target
from vidtok_edge.runtime.backends.engines import step as engine_step
from vidtok_edge.runtime.backends.engines.api import TensorRT
from vidtok_edge.runtime.backends.engines.building import targets

ROOT = Path(__file__).parents[4]
ENDING = ("Builder", "Runtime", "OnnxParser")
MAKERS = {
    "runtime/backends/engines/step.py": "open_engine has found the GPU",
    "runtime/backends/engines/building/build.py": "build_hosts has, or TensorRT-RTX builds ahead",
    "runtime/backends/engines/building/network.py": "the same",
}
"""Where they are made, and why a driver is there then."""


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A TensorRT 10.6 and no driver; what was made of it."""
    seen: list[str] = []
    library: Any = ModuleType("tensorrt")

    def making(name: str) -> Any:
        def end(*arguments: object) -> NoReturn:
            seen.append(name)
            raise SystemExit(f"terminate called: {name}")

        return end

    for name in ENDING:
        setattr(library, name, making(name))
    library.__version__ = "10.6.0"
    library.ILogger = type("ILogger", (), {"Severity": None})
    monkeypatch.setitem(sys.modules, "tensorrt", library)
    for module in (choosing, engine_step, targets):
        monkeypatch.setattr(module, "present_gpu", lambda: None)
    return seen


COMMANDS = [
    ["doctor"],
    ["doctor", "--check"],
    ["build", "BUNDLE", "--target", "tensorrt"],
    ["build", "BUNDLE", "--target", "tensorrt", "--dry-run"],
    ["build", "BUNDLE", "--target", "tensorrt", "--gpu", "sm90"],
    ["prove", "BUNDLE", "--backend", "tensorrt"],
    ["bench", "BUNDLE", "--backend", "tensorrt", "--dry-run"],
    ["encode", "nothing.mp4", "--bundle", "BUNDLE", "--backend", "tensorrt", "--output", "x.npz"],
    ["record", "synthetic", "--bundle", "BUNDLE", "--backend", "tensorrt", "--output", "x.mcap"],
    ["verify", "BUNDLE", "--backend", "tensorrt"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_no_command_makes_them(
    tiny: Path, made: list[str], command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny.parent)
    result = CliRunner().invoke(main, [str(tiny) if it == "BUNDLE" else it for it in command])
    assert not made, result.output
    assert result.exit_code in range(5), result.output
    assert "Traceback" not in result.output


def test_no_stream_makes_them(tiny: Path, made: list[str]) -> None:
    bundle = Bundle.load(tiny)
    with bundle.encoder() as encoder:
        assert encoder.backend.active == "cpu", "auto goes on without"
    with pytest.raises(Exception, match="an NVIDIA GPU, and none was found here") as caught:
        bundle.encoder("tensorrt")
    assert not isinstance(caught.value, EngineMissing) and not made
    with pytest.raises(Exception, match="TensorRT builds on the GPU"):
        targets.build_hosts(Target(Backend.TENSORRT), cast(TensorRT, sys.modules["tensorrt"]), [])
    assert not made


def test_they_are_made_where_a_driver_is_known_to_be() -> None:
    found = set()
    for folder in ("runtime", "export", "commands", "lowering", "calib"):
        for file in (ROOT / folder).rglob("*.py"):
            calls = [it for it in ast.walk(ast.parse(file.read_text())) if isinstance(it, ast.Call)]
            named = {it.func.attr for it in calls if isinstance(it.func, ast.Attribute)}
            if named & set(ENDING):
                found.add(file.relative_to(ROOT).as_posix())
    assert found == set(MAKERS), "a new place must look for the GPU first, and be named above"
