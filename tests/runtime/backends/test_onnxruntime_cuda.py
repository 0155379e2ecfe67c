"""Why CUDA does not start, told apart."""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnxruntime as ort
import pytest

from vidtok_edge.runtime.backends import onnxruntime_cuda as cuda
from vidtok_edge.runtime.backends.backend import Backend
from vidtok_edge.runtime.backends.choosing import open_step
from vidtok_edge.runtime.backends.gpu import Obstacle
from vidtok_edge.runtime.bundle import Bundle

CPU = "CPUExecutionProvider"
NO_DRIVER = Obstacle("there is no NVIDIA driver", "Install the NVIDIA driver")
MISSING = "libcublasLt.so.13: cannot open shared object file: No such file or directory"


@pytest.fixture(autouse=True)
def preload_again() -> Iterator[None]:
    cuda.preload_cuda.cache_clear()
    yield
    cuda.preload_cuda.cache_clear()


class Machine:
    """onnxruntime-gpu as installed: what is installed beside it, and what its library lacks.

    Attributes:
        preloaded: how often its libraries were preloaded.
        looked: in which other folders they were looked for.
        installed: distributions.
        lacking: what the loader says of the provider's library.
        gpu: what is between us and a GPU.
        printed: what a session prints before it falls back.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.preloaded = 0
        self.looked = list[str]()
        self.installed = {"onnxruntime-gpu"}
        self.lacking, self.printed = MISSING, ""
        self.gpu: Obstacle | None = None
        (folder / "capi").mkdir()
        (folder / "capi" / "libonnxruntime_providers_cuda.so").touch()
        real = ort.InferenceSession

        def session(graph: Any, options: Any, providers: Any, **_: object) -> Any:
            print(self.printed, end="")
            return real(graph, options, providers=[CPU])

        monkeypatch.setattr(ort, "InferenceSession", session)
        monkeypatch.setattr(ort, "__file__", str(folder / "__init__.py"))
        monkeypatch.setattr(ort, "get_available_providers", lambda: [cuda.CUDA, CPU])
        monkeypatch.setattr(ort, "preload_dlls", self.preload, raising=False)
        monkeypatch.setattr(ort, "cuda_version", "13.0", raising=False)
        monkeypatch.setattr(ctypes, "CDLL", self.load)
        monkeypatch.setattr(cuda, "gpu_obstacle", lambda: self.gpu)
        monkeypatch.setattr(importlib.metadata, "version", self.version)
        extras = ['nvidia-cufft~=12.0; extra == "cuda"', 'nvidia-cudnn-cu13~=9.0; extra == "cudnn"']
        monkeypatch.setattr(importlib.metadata, "requires", lambda name: ["numpy>=1.21", *extras])

    def preload(self, directory: str | None) -> None:
        self.preloaded += directory is None
        self.looked += [] if directory is None else [directory]
        print(f"Failed to load {MISSING}")

    def load(self, name: str) -> None:
        if self.lacking:
            raise OSError(self.lacking)

    def version(self, name: str) -> str:
        if name in self.installed:
            return "1.0"
        raise importlib.metadata.PackageNotFoundError(name)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Machine:
    return Machine(monkeypatch, tmp_path_factory.mktemp("onnxruntime"))


def test_a_missing_library_is_named_with_the_packages_that_bring_it(machine: Machine) -> None:
    obstacle = cuda.cuda_obstacle()
    assert obstacle is not None and MISSING in obstacle.why
    assert "nvidia-cufft, nvidia-cudnn-cu13 with: pip install" in obstacle.remedy


def test_what_is_installed_is_not_advised_to_be_installed(machine: Machine) -> None:
    machine.installed |= {"nvidia-cufft", "nvidia-cudnn-cu13"}
    obstacle = cuda.cuda_obstacle()
    assert obstacle is not None and "--force-reinstall nvidia-cufft" in obstacle.remedy
    machine.installed = set()
    obstacle = cuda.cuda_obstacle()
    assert obstacle is not None and "pip" not in obstacle.remedy
    assert "the CUDA 13.0 and cuDNN libraries" in obstacle.remedy


def test_a_missing_driver_is_no_missing_package(machine: Machine) -> None:
    machine.gpu, machine.lacking = NO_DRIVER, "libcuda.so.1: cannot open shared object file"
    assert cuda.cuda_obstacle() == NO_DRIVER


def test_all_that_is_missing_is_said(machine: Machine) -> None:
    machine.gpu = NO_DRIVER
    obstacle = cuda.cuda_obstacle()
    assert obstacle is not None and MISSING in obstacle.why and NO_DRIVER.why in obstacle.why


def test_what_onnxruntime_prints_is_the_reason(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.printed = "EP Error CUDA failure 100: no device when using ['CUDA']\nFalling back"
    machine.gpu = Obstacle("no GPU", "Look at nvidia-smi")
    obstacle = cuda.cuda_obstacle()
    assert obstacle == Obstacle("CUDA failure 100: no device: no GPU", "Look at nvidia-smi")
    assert capsys.readouterr().out == ""


def test_another_package_over_it(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: [CPU])
    obstacle = cuda.cuda_obstacle()
    assert obstacle is not None and "pip uninstall onnxruntime onnxruntime-gpu" in obstacle.remedy


def test_libraries_are_preloaded_once_and_not_for_the_cpu(
    machine: Machine, tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    graph = Bundle.load(tiny).manifest.graphs[0]
    open_step(tiny, graph, Backend.CPU).close()
    assert machine.preloaded == 0
    for _ in range(2):
        with open_step(tiny, graph) as step:
            assert MISSING in step.info.fell_back
    assert machine.preloaded == 1
    assert capsys.readouterr().out == ""


def test_libraries_beside_another_package_than_onnx_runtime(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those of a PyTorch in another folder of Python's path."""
    machine = Machine(monkeypatch, tmp_path)
    folders = [tmp_path / "other" / "nvidia" / name / "lib" for name in ("cu13", "cudnn")]
    for folder in folders:
        folder.mkdir(parents=True)
    (tmp_path / "other" / "nvidia" / "cu13" / "include").mkdir()
    beside = Path(ort.__file__).resolve().parents[1] / "nvidia"
    places = [str(tmp_path / "other" / "nvidia"), str(beside)]
    spec = SimpleNamespace(submodule_search_locations=places)
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: spec if name == "nvidia" else found(name)
    )
    cuda.preload_cuda()
    cuda.preload_cuda()
    assert machine.preloaded == 1
    assert machine.looked == [str(folder) for folder in folders], "ONNX Runtime looks beside itself"
