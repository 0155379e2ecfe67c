"""ONNX Runtime steps on a graph small enough to know the answer of."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from int8_sums import convolution, save_beside
from numpy.typing import NDArray
from sliding import SLIDING, sliding_graph
from tiny_calls import run_flat as run

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
from vidtok_edge.runtime.manifest.graphs import GraphSpec, Placement, TensorSpec


def step_of(folder: Path, backend: str = "auto", **options: Any) -> Step:
    return Bundle.load(folder).step("encoder", backend, **options)


def watched_bindings(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The tensors that are bound from now on, and their addresses."""
    bound: list[tuple[str, int]] = []
    binding = ort.IOBinding

    def watch(method: str) -> None:
        original = getattr(binding, method)

        def spy(self: Any, tensor: str, value: Any) -> None:
            bound.append((tensor, value.data_ptr()))
            original(self, tensor, value)

        monkeypatch.setattr(binding, method, spy)

    watch("bind_ortvalue_input")
    watch("bind_ortvalue_output")
    return bound


def test_a_cache_that_is_read_again_has_two_sets(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound = watched_bindings(monkeypatch)
    with step_of(tiny):
        pass
    tensors = len({name for name, _ in bound})
    assert len(bound) == 2 * tensors
    for turn in (bound[:tensors], bound[tensors:]):
        assert len({address for _, address in turn}) == tensors
    first, second = dict(bound[:tensors]), dict(bound[tensors:])
    assert first["cache_000"] == second["new_cache_000"]
    assert second["cache_000"] == first["new_cache_000"]


def sliding_step(folder: Path, text: str) -> OnnxRuntimeStep:
    path = folder / "sliding.onnx"
    onnx.save(sliding_graph(text), path)
    x, y = TensorSpec("x", "float32", (1, 1)), TensorSpec("y", "float32", (1, 3))
    cache, start = TensorSpec("cache_000", "float32", (1, 2)), TensorSpec("start", "bool", (1, 1))
    new_cache = replace(cache, name="new_cache_000")
    graph = GraphSpec(
        kind="encoder",
        precision="fp32",
        placement=Placement.ANY,
        form="conv2d",
        opset=20,
        file=path.name,
        sha256="",
        data_file="",
        data_sha256="",
        inputs=(x, start, cache),
        outputs=(y, new_cache),
    )
    return OnnxRuntimeStep(graph, path, "cpu")


READ_LATE = SLIDING.replace("Identity(joined)", "Concat <axis = 1> (cache_000, x)")


@pytest.mark.parametrize(
    ("text", "sets"),
    [
        pytest.param(SLIDING, 1, id="a copied cache lies where the new one does"),
        pytest.param(READ_LATE, 2, id="one that is read after that does not"),
    ],
)
def test_a_sliding_cache_keeps_what_it_should(
    text: str, sets: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound = watched_bindings(monkeypatch)
    with sliding_step(tmp_path, text) as step:
        assert len({address for name, address in bound if "cache" in name}) == sets
        step.set_caches({"cache_000": np.full((1, 2), 7, np.float32)})
        history = [7, 7]
        for number in range(1, 6):
            step.inputs["x"][:] = number
            step.run()
            assert step.outputs["y"][0].tolist() == [*history, number]
            history = [history[1], number]
            assert step.caches()["cache_000"][0].tolist() == history


# -- INT8

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


# -- CUDA, of host memory


class HostCuda:
    """ONNX Runtime with a CUDA provider that is made of host memory.

    A binding copies a value that lies elsewhere than where the session reads it, once.

    Attributes:
        on_cpu: inputs that are read on the CPU.
        providers: what sessions were opened with.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, on_cpu: set[str]) -> None:
        self.on_cpu, self.providers = on_cpu, list[Any]()
        self.addresses: set[int] = set()
        value = ort.OrtValue
        from_numpy, from_shape = value.ortvalue_from_numpy, value.ortvalue_from_shape_and_type

        def placed(made: Any, device: str) -> Any:
            if device == "cuda":
                self.addresses.add(made.data_ptr())
            return made

        monkeypatch.setattr(
            value,
            "ortvalue_from_numpy",
            lambda array, device="cpu", _=0: placed(
                from_numpy(array.copy() if device == "cuda" else array), device
            ),
        )
        monkeypatch.setattr(
            value,
            "ortvalue_from_shape_and_type",
            lambda shape, kind, device, _: placed(from_shape(shape, kind, "cpu", 0), device),
        )
        session = ort.InferenceSession
        monkeypatch.setattr(ort, "get_available_providers", lambda: list(PROVIDERS.values()))
        monkeypatch.setattr(
            ort,
            "InferenceSession",
            lambda path, options, providers, **_: HostSession(
                self, session, path, options, providers
            ),
        )


class HostSession:
    def __init__(self, cuda: HostCuda, real: Any, path: str, options: Any, providers: Any) -> None:
        cuda.providers.append(providers)
        self.cuda, self.real = cuda, real(path, options, providers=[PROVIDERS["cpu"]])

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def get_providers(self) -> list[str]:
        return list(PROVIDERS.values())

    def get_input_memory_infos(self) -> list[Any]:
        names = [node.name for node in self.real.get_inputs()]
        return [SimpleNamespace(name="Cpu" if n in self.cuda.on_cpu else "Cuda") for n in names]

    def io_binding(self) -> Any:
        binding = self.real.io_binding()
        bind = binding.bind_ortvalue_input

        def bind_ortvalue_input(name: str, value: Any) -> None:
            if (value.data_ptr() in self.cuda.addresses) is (name in self.cuda.on_cpu):
                value = ort.OrtValue.ortvalue_from_numpy(value.numpy().copy())
            bind(name, value)

        binding.bind_ortvalue_input = bind_ortvalue_input
        return binding


@pytest.mark.parametrize(
    ("on_cpu", "fell_back"),
    [
        (set(), ""),
        ({"start", "ready"}, ""),
        ({"cache_000"}, "cuda: 1 of 1 caches are read on the CPU"),
    ],
)
def test_values_lie_where_the_session_reads_them(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, on_cpu: set[str], fell_back: str
) -> None:
    HostCuda(monkeypatch, on_cpu)
    with step_of(tiny, "cuda") as step:
        assert (step.info.active, step.info.fell_back) == ("cuda", fell_back)
        assert run(step, (3, 5), start=True) == [3, 5]
        assert run(step, (1, 1)) == [4, 6]
        assert run(step, (1, 9), ready=[True, False]) == [5, 15]
        assert run(step, (1, 1)) == [6, 7]
        assert step.caches()["cache_000"][:, 0].tolist() == [6, 7]


def test_fp32_is_no_tf32(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = HostCuda(monkeypatch, set())
    step_of(tiny, "cuda").close()
    assert cuda.providers == [[(PROVIDERS["cuda"], {"use_tf32": "0"}), PROVIDERS["cpu"]]]


# -- memory


def rss() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_run_allocates_no_buffer(tiny: Path) -> None:
    with step_of(tiny) as step:
        tracemalloc.start()
        try:
            step.run()  # what Python itself keeps from a first call
            gc.collect()
            before, _ = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            for _ in range(50):
                step.run()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    # ONNX Runtime's own call leaves 124 bytes to the collector; our buffers have 6,144.
    assert peak - before < 50 * 200


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs /proc")
def test_300_chunks_are_flat(tiny: Path) -> None:
    with Bundle.load(tiny).encoder() as encoder:
        frame = np.zeros((16, 16, 3), np.uint8)

        def chunks(count: int) -> None:
            for _ in range(4 * count):
                encoder.push(frame)

        chunks(100)
        gc.collect()
        before = rss()
        chunks(300)
        assert rss() - before < 1 << 20


SHAPES, MB = 8, 1 << 20
PEAK = """
import sys
from pathlib import Path
import numpy as np
from vidtok_edge.runtime.backends.onnxruntime import open_session

def peak():
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))

session, _ = open_session(Path(sys.argv[1]), "cpu", 1)
before = peak()
session.run(None, {"x": np.ones(1, np.float32)})
print((peak() - before) * 1024)
"""


def one_at_a_time(path: Path) -> None:
    """A graph of tensors of 16 MB, one alive at a time, whose shapes all come twice."""
    nodes, constants, last = list[Any](), list[Any](), "x"
    for number in range(2 * SHAPES):
        split = 2 ** (number % SHAPES)
        shape = np.array([split, 4 * MB // split], np.int64)
        constants.append(onnx.numpy_helper.from_array(shape, f"shape{number}"))
        nodes += [
            onnx.helper.make_node("Expand", [last, f"shape{number}"], [f"large{number}"]),
            onnx.helper.make_node("ReduceMax", [f"large{number}"], [f"small{number}"], keepdims=0),
        ]
        last = f"small{number}"
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes,
        "one at a time",
        [value("x", onnx.TensorProto.FLOAT, [1])],
        [value(last, onnx.TensorProto.FLOAT, [])],
        constants,
    )
    opset = onnx.helper.make_opsetid("", 20)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=9)
    onnx.save(model, path)


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs /proc")
def test_memory_of_a_tensor_serves_others_at_once(tmp_path: Path) -> None:
    one_at_a_time(tmp_path / "graph.onnx")
    command = [sys.executable, "-c", PEAK, str(tmp_path / "graph.onnx")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert 16 * MB <= int(done.stdout) < 40 * MB, "with one buffer for each shape 128 MB"


def held_by_onnx_runtime() -> int:
    """How many sessions, bindings and tensors of ONNX Runtime there are in this process."""
    gc.collect()
    kinds = (ort.InferenceSession, ort.IOBinding, ort.OrtValue)
    return sum(type(each) in kinds for each in gc.get_objects())


def test_closed_steps_give_their_memory_back(tiny: Path) -> None:
    before = held_by_onnx_runtime()
    step = step_of(tiny)
    run(step, (3, 5), start=True)
    assert held_by_onnx_runtime() >= before + 1 + 2 + 2  # session, bindings, two sets of caches
    step.close()
    step.close()
    assert held_by_onnx_runtime() == before, "though the step itself is still there"
    with pytest.raises(StreamError):
        run(step, (1, 1))


# -- choosing


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


# -- files that are not what they should be


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
