"""ONNX Runtime steps on a graph small enough to know the answer of."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from host_cuda import HostCuda
from int8_sums import convolution, save_beside
from numpy.typing import NDArray

from vidtok_edge.errors import (
    BackendUnavailable,
    BundleError,
    BundleMismatch,
    GraphFailed,
    StreamError,
    UsageError,
)
from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.backends import onnxruntime_cuda
from vidtok_edge.runtime.backends.gpu import Obstacle
from vidtok_edge.runtime.backends.onnxruntime import PROVIDERS, OnnxRuntimeStep, open_session
from vidtok_edge.runtime.backends.step import Step


def step_of(folder: Path, backend: str = "auto", **options: Any) -> Step:
    return Bundle.load(folder).step("encoder", backend, **options)


PRECISION = "session.x64quantprecision"
PAIRS_OF_64 = np.full((16, 64, 1, 1), 64, np.int8)


def int8_session(path: Path, weight: NDArray[np.int8]) -> Any:
    """A convolution of one INT8 kernel, as the runtime opens it on the CPU."""
    save_beside(convolution(weight, bias=True), path)
    return open_session(path, "cpu", None)[0]


@pytest.mark.parametrize("weight", [64, 127, -128])
def test_int8_sums_do_not_saturate(weight: int, tmp_path: Path) -> None:
    """They do by default on processors without VNNI: 255 x 127 x 2 is more than 16 bits hold."""
    session = int8_session(tmp_path / "sums.onnx", PAIRS_OF_64 // 64 * weight)
    [result] = session.run(None, {"x": np.full((1, 64, 4, 4), 255, np.uint8)})
    assert abs(float(result[0, 0, 0, 0]) - 64 * 255 * weight) <= 8192, "half a level"


@pytest.mark.parametrize(("weight", "asked"), [(64, False), (65, True), (-65, True), (127, True)])
def test_exact_sums_are_asked_for_where_pairs_can_saturate(
    weight: int, asked: bool, tmp_path: Path
) -> None:
    """As in bundles exported before weights were made for it; else it costs time alone."""
    session = int8_session(tmp_path / "sums.onnx", PAIRS_OF_64 // 64 * weight)
    assert has_entry(session.get_session_options()) is asked


def test_a_layer_in_float_between_layers_in_int8_stays_in_float(tmp_path: Path) -> None:
    """ONNX Runtime's optimiser makes INT8 of it, where it is let."""
    random = np.random.default_rng(0)
    weight = random.normal(0, 1, (4, 8, 1, 1)).astype(np.float32)
    weight[:, 0] *= 1000  # one scale for all weights would leave nothing of the others
    model = convolution(weight, coarse=8)
    del model.graph.node[1]
    model.graph.node[1].input[1] = "w"
    path = tmp_path / "floating.onnx"
    onnx.save(model, path)
    pixels = random.integers(0, 256, (1, 8, 4, 4)).astype(np.uint8)
    pixels[:, 0] = 0
    [ours] = open_session(path, "cpu", 1)[0].run(None, {"x": pixels})
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    plain = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    [exact] = plain.run(None, {"x": pixels})
    assert np.abs(ours - exact).max() <= 8, "a step of the output at most"
    assert len(np.unique(exact)) > 10


def test_a_name_that_is_no_text_is_told_as_such(tiny: Path, tmp_path: Path) -> None:
    """ONNX Runtime says what types its constructor takes."""
    try:
        odd = tiny.rename(tmp_path / "b\udcff")
    except OSError:
        pytest.skip("this disk takes names in UTF-8 alone")
    with pytest.raises(BundleError, match="its name is no text as Python reads it here"):
        Bundle.load(odd).encoder("cpu")


@pytest.mark.parametrize("content", [b"", b"\xff" * 100])
def test_what_is_no_onnx_file_is_told_by_onnxruntime(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "none.onnx"
    path.write_bytes(content)
    with pytest.raises(BundleError, match=r"ONNX Runtime cannot load .*none\.onnx"):
        open_session(path, "cpu", None)


def has_entry(options: Any) -> bool:
    try:
        return bool(options.get_session_config_entry(PRECISION) == "1")
    except RuntimeError:  # it was not set
        return False


def test_safe_weights_give_the_same_bytes_with_and_without_exact_sums(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    weight = random.integers(-64, 65, (16, 8, 3, 3)).astype(np.int8)
    path = tmp_path / "sums.onnx"
    save_beside(convolution(weight, 16, bias=True, coarse=2000), path)
    pixels = random.choice(np.array([0, 255], np.uint8), (1, 8, 16, 16))
    [ours] = open_session(path, "cpu", 1)[0].run(None, {"x": pixels})
    options = ort.SessionOptions()
    options.add_session_config_entry(PRECISION, "1")
    exact = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    assert np.array_equal(ours, exact.run(None, {"x": pixels})[0])
    assert len(np.unique(ours)) > 30


def test_fp32_is_no_tf32(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = HostCuda(monkeypatch, set())
    step_of(tiny, "cuda").close()
    assert cuda.providers == [[(PROVIDERS["cuda"], {"use_tf32": "0"}), PROVIDERS["cpu"]]]


def test_auto_takes_the_cpu_here(tiny: Path) -> None:
    if PROVIDERS["cuda"] in ort.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    with step_of(tiny) as step:
        assert step.info and (step.info.asked, step.info.active) == ("auto", "cpu")
        assert str(step.info) == f"cpu on onnxruntime {ort.__version__}"


def test_cuda_that_is_absent(tiny: Path) -> None:
    if PROVIDERS["cuda"] in ort.get_available_providers():
        pytest.skip("it is there")
    with pytest.raises(BackendUnavailable, match="not in this build") as caught:
        step_of(tiny, "cuda")
    assert 'pip install "vidtok-edge[gpu]"' in str(caught.value)


def test_an_unknown_backend(tiny: Path) -> None:
    with pytest.raises(UsageError, match="no backend 'gpu'; use auto, onnxruntime, cpu, cuda"):
        step_of(tiny, "gpu")


class Silent:
    """As onnxruntime, but the CUDA provider is built in and quietly not used, or fails."""

    def __init__(self, failure: str | None) -> None:
        self.failure, self.session = failure, ort.InferenceSession

    def __call__(self, path: str, options: Any, providers: list[str], **_: object) -> Any:
        if self.failure is not None and providers[0] != PROVIDERS["cpu"]:
            raise RuntimeError(self.failure)
        return self.session(path, options, providers=[PROVIDERS["cpu"]])


@pytest.mark.parametrize(
    ("failure", "why"),
    [
        (None, "cuda: ONNX Runtime fell back to CPUExecutionProvider: no GPU. Buy one"),
        ("no driver\nat line 3", "cuda: no driver at line 3: no GPU. Buy one"),
        ("", "cuda: RuntimeError: no GPU. Buy one"),
    ],
)
def test_a_silent_fallback_is_said(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, failure: str | None, why: str
) -> None:
    providers = [PROVIDERS["cuda"], PROVIDERS["cpu"]]
    monkeypatch.setattr(ort, "get_available_providers", lambda: providers)
    monkeypatch.setattr(ort, "InferenceSession", Silent(failure))
    monkeypatch.setattr(onnxruntime_cuda, "gpu_obstacle", lambda: Obstacle("no GPU", "Buy one"))
    with step_of(tiny) as step:
        assert not step.info and step.info.active == "cpu"
        assert str(step.info) == f"cpu on onnxruntime {ort.__version__} (fell back: {why})"
    with pytest.raises(BackendUnavailable, match=f"'cuda' cannot run encoder.fp32.onnx: {why}"):
        step_of(tiny, "cuda")
    with step_of(tiny, "cpu") as step:
        assert step.info, "the CPU was asked for"


def test_no_backend_is_installed(tiny: Path) -> None:
    code = (
        "import sys; sys.modules['onnxruntime'] = None\n"
        "from vidtok_edge.errors import BackendUnavailable\n"
        "from vidtok_edge.runtime import Bundle\n"
        "bundle = Bundle.load(sys.argv[1])\n"
        "try:\n    bundle.encoder()\n"
        "except BackendUnavailable as error:\n    print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tiny)], capture_output=True, text=True, check=True
    )
    assert "No backend is installed" in done.stdout
    assert 'pip install "vidtok-edge[ort]"' in done.stdout


def test_threads(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    session = ort.InferenceSession

    def spy(path: str, options: Any, providers: list[str], **_: object) -> Any:
        asked.append(options.intra_op_num_threads)
        return session(path, options, providers=providers)

    monkeypatch.setattr(ort, "InferenceSession", spy)
    bundle = Bundle.load(tiny)
    for threads in (None, 1, 2):
        bundle.encoder("cpu", threads=threads).close()
        bundle.decoder("cpu", threads=threads).close()
    assert asked == [0, 0, 1, 1, 2, 2], "0: ONNX Runtime chooses"
    with pytest.raises(UsageError, match="threads is 0; use 1 or more"):
        bundle.encoder(threads=0)
    with pytest.raises(UsageError, match="threads is 1000000; use 1 or more, 1024 at most"):
        bundle.decoder(threads=1_000_000)  # was as much memory as there is


@pytest.mark.parametrize("content", [b"", b"not a graph", b"\x08\x09" * 500])
def test_a_corrupt_graph(tiny: Path, content: bytes) -> None:
    (tiny / "encoder.fp32.onnx").write_bytes(content)
    with pytest.raises(BundleError, match=r"encoder\.fp32\.onnx.*Export the bundle again"):
        step_of(tiny)


def test_a_truncated_graph(tiny: Path) -> None:
    path = tiny / "encoder.fp32.onnx"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(BundleError, match="Export the bundle again"):
        step_of(tiny)


def test_a_graph_of_another_interface(tiny: Path) -> None:
    (tiny / "encoder.fp32.onnx").write_bytes((tiny / "decoder.fp32.onnx").read_bytes())
    with pytest.raises(BundleMismatch, match=r"manifest.json disagree on 2 tensor.*Export"):
        step_of(tiny)


def test_a_step_that_failed_is_closed(tiny: Path) -> None:
    """Its caches may be half of this call and half of the one before."""

    def fail(binding: object) -> None:
        raise RuntimeError("no kernel")

    step = step_of(tiny)
    assert isinstance(step, OnnxRuntimeStep)
    step._session = SimpleNamespace(run_with_iobinding=fail)
    with pytest.raises(GraphFailed, match="no kernel"):
        step.run()
    for use in (step.run, step.caches):
        with pytest.raises(StreamError, match="closed"):
            use()


def test_threads_of_a_session_sleep_while_they_wait(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries: dict[str, str] = {}
    add = ort.SessionOptions.add_session_config_entry

    def spy(self: Any, key: str, value: str) -> None:
        entries[key] = value
        add(self, key, value)

    monkeypatch.setattr(ort.SessionOptions, "add_session_config_entry", spy)
    step_of(tiny).close()
    assert entries["session.intra_op.allow_spinning"] == "0"
