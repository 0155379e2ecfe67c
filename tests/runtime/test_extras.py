"""Extras: what the metadata or the checkout says, and no list beside it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import vidtok_edge
from vidtok_edge.errors import MissingDependency
from vidtok_edge.runtime.extras import extra_with, extras, require

ROOT = Path(__file__).resolve().parents[2]
LINES = [
    "numpy>=1.26",
    "av>=17; extra == 'video'",
    "pillow>=10.1; extra == 'video'",
    "av>=17; extra == 'export'",
    "onnx-ir>=0.2; extra == 'export'",
    "torch<2.14,>=2.8; extra == 'export'",
    "tomli>=2; (python_version < '3.0') and extra == 'export'",
    'old[x,y]>=2; python_version >= "3.0" and extra == "export"',
    "nowhere; (platform_system == 'Plan9') and extra == 'gpu'",
    "onnxruntime-gpu[cuda,cudnn]>=1.21; (platform_system != 'Plan9') and extra == 'gpu'",
]


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    extras.cache_clear()
    yield
    extras.cache_clear()


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: LINES)


def without_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    def requires(name: str) -> list[str]:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", requires)


def test_extras_are_those_of_this_machine(known: None) -> None:
    assert extras() == {
        "video": ("av", "pillow"),
        "export": ("av", "onnx-ir", "torch", "old"),
        "gpu": ("onnxruntime-gpu",),
    }


def test_a_package_is_of_the_smallest_extra_that_brings_it(known: None) -> None:
    assert extra_with("av") == "video" and extra_with("torch") == "export"
    assert extra_with("numpy") == ""


@pytest.mark.parametrize(
    ("absent", "named"), [("PIL", "PIL"), ("av", "av"), ("torch", None), ("click", None)]
)
def test_what_is_missing_is_named_with_the_line_that_installs_it(
    absent: str, named: str | None, known: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == absent else True)
    if named is None:
        require("video", "This command")
        return
    sentence = (
        f"This command needs {named}, which is not installed. "
        'Install it with: pip install "vidtok-edge[video]"'
    )
    with pytest.raises(MissingDependency, match=f"^{re.escape(sentence)}$"):
        require("video", "This command")
    require("video", "This command", but=("av", "pillow"))


@pytest.mark.skipif(not (ROOT / "pyproject.toml").exists(), reason="no checkout")
@pytest.mark.skipif(sys.version_info < (3, 11), reason="reads TOML")
def test_a_checkout_without_metadata_is_read_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    without_metadata(monkeypatch)
    assert extras()["video"] == ("av", "pillow")
    assert "torch" in extras()["export"] and "tomli" not in extras()["export"]
    assert extra_with("cuda-bindings") == "tensorrt"


def test_where_nothing_says_nothing_is_required(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    without_metadata(monkeypatch)
    monkeypatch.setattr(vidtok_edge, "__file__", str(tmp_path / "a" / "b" / "__init__.py"))
    assert extras() == {}
    require("export", "This command")


@pytest.mark.skipif(not (ROOT / "pyproject.toml").exists(), reason="no checkout")
def test_pyproject_uses_no_marker_that_is_not_understood() -> None:
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    table = text.split("[project.optional-dependencies]")[1].split("\n[")[0]
    markers = re.findall(r'^ *"[^";]*;([^"]*)"', table, re.MULTILINE)
    assert markers
    for marker in markers:
        assert re.fullmatch(r" (python_version <|platform_system [!=]=) '[\w.]+'", marker)


def test_reading_them_imports_no_package_of_an_extra() -> None:
    code = (
        "import sys\nfrom vidtok_edge.runtime.extras import extras, require\nextras()\n"
        "print(*({'torch', 'av', 'onnx', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.skipif(not (ROOT / "pyproject.toml").exists(), reason="no checkout")
@pytest.mark.skipif(sys.version_info < (3, 11), reason="reads TOML")
def test_a_page_names_what_each_extra_brings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    without_metadata(monkeypatch)
    page = (ROOT / "docs" / "install.md").read_text("utf-8")
    rows = [line for line in page.splitlines() if "|" in line]
    for extra, names in extras().items():
        told = "\n".join(row for row in rows if re.search(rf"[`\[,]{extra}[`\],]", row))
        assert [name for name in names if not re.search(rf"\b{name}\b", told)] == [], extra
