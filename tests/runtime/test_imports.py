"""What the runtime needs, what its public names are, and that the error tree is drawn as it is."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from vidtok_edge import errors, runtime

ROOT = Path(__file__).resolve().parents[2]
HEAVY = (
    "torch",
    "onnx",
    "onnxruntime",
    "onnx_ir",
    "onnxscript",
    "av",
    "PIL",
    "safetensors",
    "tensorrt",
    "tensorrt_rtx",
    "cuda",
    "mcap",
    "rerun",
    "pyarrow",
    "polygraphy",
)
NEEDS = {"backends.onnxruntime": "onnxruntime", "clips.pictures": "PIL"}
NEEDS |= {f"backends.onnxruntime_{part}": "onnxruntime" for part in ("cuda", "memory", "rtx")}
NEEDS |= {"sources.camera": "av", "sources.y4m": "av", "clips.image_folder": "PIL"}
NEEDS["clips.container"] = "av"
NEEDS |= {"clips.filtering": "av", "clips.suitability": "av"}
NEEDS |= dict.fromkeys(
    [f"clips.{name}" for name in ("decoding", "fitting", "scanning", "video_files", "writing")],
    "av",
)
NEEDS |= dict.fromkeys(
    [
        f"recording.format.{name}"
        for name in (
            "channels",
            "contents",
            "mcap_file",
            "mcap_records",
            "places",
            "reader",
            "scan",
            "seen",
        )
    ],
    "mcap",
)
NEEDS["recording.format.unpacking"] = "zstandard"
NEEDS |= {
    "recording.recovery": "mcap",
    "joining.bags": "mcap",
    "recording.exports.lerobot": "pyarrow",
    "recording.exports.lerobot_before": "pyarrow",
    "recording.exports.parquet": "pyarrow",
    "recording.exports.parquet_files": "pyarrow",
}
NEEDS["viewing.rerun_log"] = "rerun"
NEEDS["session.audit"] = "PIL"
NEEDS["comparing.part"] = "onnx"
NEEDS |= dict.fromkeys(
    [f"comparing.{name}" for name in ("check", "layers", "reduction", "reduction_case", "runners")],
    "polygraphy",
)
MODULES = sorted(
    ".".join(path.relative_to(ROOT / "runtime").with_suffix("").parts)
    for path in (ROOT / "runtime").rglob("*.py")
    if path.stem != "__init__"
)


@pytest.mark.parametrize("modules", ["vidtok_edge.runtime", "vidtok_edge.cli"])
def test_heavy_packages_stay_out(modules: str) -> None:
    code = (
        f"import sys; before = set(sys.modules)\nimport {modules}\n"  # packages may import at start
        f"new = {{name.partition('.')[0] for name in set(sys.modules) - before}}\n"
        f"print(*sorted({HEAVY!r} & new))"
    ).replace(repr(HEAVY), repr(set(HEAVY)))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/"
    )
    assert done.stdout.split() == []


GRAPHS = """
import sys
sys.modules |= dict.fromkeys(["av", "mcap", "lz4", "zstandard", "PIL"])  # None: cannot be imported
from vidtok_edge.export.bundle_files import write_graphs
from vidtok_edge.export.planning.plan import plan_of
from vidtok_edge.lowering.step import StepOptions, lower
from vidtok_edge.vidtok_ref import load_weights
lower(load_weights("fsq", None)[0], StepOptions(32, 32), "encoder")
"""


def test_graphs_are_written_without_what_reads_clips() -> None:
    """A machine that builds engines may have PyTorch and no PyAV."""
    pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    done = subprocess.run([sys.executable, "-c", GRAPHS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


STREAM = """
import sys
import numpy as np
import onnxruntime
theirs = set(sys.modules)
from vidtok_edge.runtime import Bundle
with Bundle.load(sys.argv[1]).encoder("cpu") as encoder:
    while not encoder.push(np.zeros((16, 16, 3), np.uint8)):
        pass
print(*sorted(sys.modules.keys() - theirs))
"""
NEEDED = (
    "errors",
    "bounded",
    "hashes",
    "runtime.bundle",
    "runtime.files",
    "runtime.held_signals",
    "runtime.known_hashes",
    "runtime.output_place",
    "runtime.remembered",
    "runtime.backends",
    "runtime.manifest",
    "runtime.streaming",
)
SLOW = ("importlib.metadata", "email", "multiprocessing", "asyncio", "unittest", "click")
"""Of the standard library and of what is installed; each takes 10 ms or more."""


def test_the_first_tokens_need_little(tiny: Path) -> None:
    """Whoever starts a process for a stream waits for each module that is loaded until then."""
    pytest.importorskip("onnxruntime")
    done = subprocess.run(
        [sys.executable, "-c", STREAM, str(tiny)], capture_output=True, text=True, check=True
    )
    loaded = done.stdout.split()
    ours = [name.partition(".")[2] for name in loaded if name.startswith("vidtok_edge.")]
    needed = tuple(f"{name}." for name in NEEDED)
    assert [name for name in ours if name != "runtime" and not f"{name}.".startswith(needed)] == []
    assert [name for name in ours if name.startswith("runtime.backends.engines")] == []
    others = {name for name in loaded if not name.startswith("onnxruntime.")}
    assert {*others, *(name.partition(".")[0] for name in others)} & {*HEAVY, *SLOW} == set()


@pytest.mark.parametrize("name", MODULES)
def test_only_its_own_module_imports_a_heavy_package(name: str) -> None:
    """On its own import, that is; a function may, when it is called."""
    body = ast.parse(
        (ROOT / "runtime" / f"{name.replace('.', '/')}.py").read_text(encoding="utf-8")
    ).body
    for node in body:
        body += node.body if isinstance(node, ast.Try) else []
    found = {a.name for node in body if isinstance(node, ast.Import) for a in node.names}
    found |= {str(node.module) for node in body if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in found} & set(HEAVY) <= {NEEDS.get(name)}


def public_names(module: ModuleType) -> set[str]:
    """The names without an underscore that the module itself defines at its top."""
    assert module.__file__ is not None
    names: set[str] = set()
    for node in ast.parse(Path(module.__file__).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.add(node.name)
    return {name for name in names if not name.startswith("_")}


@pytest.mark.parametrize("name", MODULES)
def test_all_is_what_a_module_makes(name: str) -> None:
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    module = importlib.import_module(f"vidtok_edge.runtime.{name}")
    assert set(module.__all__) >= public_names(module)
    assert all(hasattr(module, public) for public in module.__all__)


def test_the_package_shows_what_its_users_need() -> None:
    """Each public name is that of the module it comes from; every import is public."""
    assert runtime.__file__ is not None
    tree = ast.parse(Path(runtime.__file__).read_text(encoding="utf-8"))
    shown = {
        alias.name: node.module
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert set(runtime.__all__) == set(shown)
    for name, module in shown.items():
        assert name in importlib.import_module(str(module)).__all__


def tree() -> dict[str, tuple[str, int | None]]:
    """The classes of the error tree as its docstring draws it: parent and exit code."""
    drawn: dict[str, tuple[str, int | None]] = {}
    above: list[tuple[int, str]] = []
    for line in str(errors.__doc__).splitlines():
        match = re.match(r"^( {4}[| ]*)([|`]- )?(\w+Error|[A-Z]\w+)(\s+(\d)\s)?", line)
        if match is None or (not match[2] and above):
            continue
        depth = len(match[1]) if match[2] else 0
        above = [entry for entry in above if entry[0] < depth]
        drawn[match[3]] = (above[-1][1] if above else "Exception", int(match[5] or -1))
        above.append((depth, match[3]))
    return drawn


def test_the_error_tree_is_drawn_as_it_is() -> None:
    classes = {
        name: value
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.VidTokEdgeError)
    }
    drawn = tree()
    assert set(drawn) == set(classes) == set(errors.__all__)
    assert errors.__all__ == sorted(errors.__all__)
    for name, (parent, code) in drawn.items():
        assert classes[name].__bases__[0].__name__ == parent, name
        if code is not None and code >= 0:
            assert classes[name].exit_code == code, name


def test_onnx_runtime_leaves_nothing_in_the_home_folder(tiny: Path, tmp_path: Path) -> None:
    """From 1.29 on it would write a number of the machine, and send events; not where CI is set."""
    home = tmp_path / "home"
    home.mkdir()
    code = (
        f"from vidtok_edge.runtime import Bundle; Bundle.load({str(tiny)!r}).encoder('cpu').close()"
    )
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    subprocess.run([sys.executable, "-c", code], env={**kept, "HOME": str(home)}, check=True)
    assert not list(home.rglob("*onnxruntime*"))
