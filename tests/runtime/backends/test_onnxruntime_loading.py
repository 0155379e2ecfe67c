"""An ONNX Runtime that is installed and does not load is not absent, and the reason is said."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

from vidtok_edge.errors import BackendUnavailable
from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime import doctor as doctor_module
from vidtok_edge.runtime.backends.choosing import open_step
from vidtok_edge.runtime.backends.onnxruntime_loading import load_onnxruntime

# As ONNX Runtime 1.18.0 does with NumPy 2.4.6.
CLASH = """
import sys
print("\\nA module that was compiled using NumPy 1.x cannot be run in\\nNumPy 2", file=sys.stderr)
raise ImportError
"""
BUILT_FOR_NUMPY_1 = (
    rf"it was built for NumPy 1, and NumPy {metadata.version('numpy')} is installed "
    r"\(ONNX Runtime 1\.19 and later take both\)"
)
Installed = Callable[[str], None]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Installed:
    """Puts a package `onnxruntime` with that content before the real one."""

    def install(content: str) -> None:
        (tmp_path / "packages" / "onnxruntime").mkdir(parents=True)
        (tmp_path / "packages" / "onnxruntime" / "__init__.py").write_text(content)
        monkeypatch.syspath_prepend(tmp_path / "packages")
        monkeypatch.delitem(sys.modules, "onnxruntime")

    return install


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (CLASH, BUILT_FOR_NUMPY_1),
        ("raise AttributeError('_ARRAY_API not found')", BUILT_FOR_NUMPY_1),
        ("raise OSError('libgomp.so.1: cannot\\nopen')", r"libgomp\.so\.1: cannot open"),
        ("raise RuntimeError", "RuntimeError"),
    ],
)
def test_the_reason_is_said_by_what_would_run_a_graph_and_by_doctor(
    content: str, why: str, tiny: Path, installed: Installed, capfd: pytest.CaptureFixture[str]
) -> None:
    installed(content)
    graph = Bundle.load(tiny).manifest.graphs[0]
    with pytest.raises(BackendUnavailable, match=rf"does not load: {why}\. Install it again with"):
        open_step(tiny, graph)
    [finding] = [f for f in doctor_module.examine() if f.name == "onnxruntime"]
    assert not finding and finding.needed
    with pytest.raises(ImportError, match=f"^{why}$"):
        load_onnxruntime()
    assert "does not load" in finding.purpose and "--upgrade" in finding.install
    assert capfd.readouterr().err == "", "what NumPy prints is not passed on"


def test_what_is_absent_keeps_its_name(tiny: Path, installed: Installed) -> None:
    installed("import no_such_package")
    graph = Bundle.load(tiny).manifest.graphs[0]
    with pytest.raises(BackendUnavailable, match="No module named 'no_such_package'"):
        open_step(tiny, graph)
