"""Trials of engines: forms that compute the same, names, workers, the time limit, the result."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing.connection import wait
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import onnxruntime
import pytest
import torch
import trials
from click.testing import CliRunner
from engine_trials import making, timing
from engine_trials.forms import TRIAL_FORMS
from engine_trials.lowered import lowered, model_of
from engine_trials.making import Made, make
from engine_trials.reference import Agreement, outputs_of, reference
from engine_trials.result import layers_beside, rows_of
from engine_trials.timelines import HostZeroed
from engine_trials.timing import Timed
from engine_trials.tools import BuiltEngine, GraphWriter, WrittenGraph, graph_path
from engine_trials.trial import DEFAULT_TRIALS, Trial, trials_of
from engine_trials.workers import Ended, Opened, Tool, Workers
from narrow import narrow
from played_tools import open_nothing, open_tool
from tensorrt_layers import Bound

from vidtok_edge.errors import UsageError
from vidtok_edge.lowering.facts import graph_spec
from vidtok_edge.lowering.forms import FORMS
from vidtok_edge.lowering.interface import Interface, zeros
from vidtok_edge.lowering.torch_step import TorchStep
from vidtok_edge.vidtok_ref import VidTok

SIZE = 32
CALLS = 3
ENCODER = Trial("embedded", "encoder", "chunk-tail")


def torch_step(model: VidTok, trial: Trial, size: int) -> TorchStep:
    step, interface = lowered(model, trial, size)
    return TorchStep(step, graph_spec(trial.kind, step.options, step.numerics, interface))


# --- forms --------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["embedded", "narrow, v1.1"])
@pytest.mark.parametrize(
    ("form", "kind"), [(name, kind) for name, form in TRIAL_FORMS.items() for kind in form.kinds]
)
def test_a_form_computes_what_conv2d_computes(form: str, kind: Any, model: str) -> None:
    given = (
        model_of("embedded")
        if model == "embedded"
        else narrow("vidtok_fsq_causal_488_32768_v1_1", 16)
    )
    calls, expected = reference(given, kind, SIZE, TRIAL_FORMS[form].host_zeroes)
    step = torch_step(given, Trial("embedded", kind, form, "fp32"), SIZE)
    for call, values in list(zip(calls, expected, strict=True))[:CALLS]:
        got = outputs_of(step, call)
        if kind == "encoder":
            np.testing.assert_array_equal(got["tokens"], values["tokens"])
        else:
            difference = got["frames"].astype(int) - values["frames"].astype(int)
            assert np.abs(difference).max() <= 1


def test_a_form_of_trials_is_not_that_of_the_product() -> None:
    shipped = dict(FORMS)
    trial = Trial("embedded", "encoder", "matmul")
    step, _ = lowered(model_of("embedded"), trial, SIZE)
    assert type(step.form) is type(TRIAL_FORMS["matmul"].form)
    assert shipped == FORMS and type(step.form) is not type(FORMS["channels_last"])


def test_a_graph_without_a_start_finds_zeros_in_its_caches() -> None:
    assert [name for name, form in TRIAL_FORMS.items() if form.host_zeroes] == ["conv3d-no-start"]
    step, _ = lowered(model_of("embedded"), Trial("embedded", "encoder", "conv3d-no-start"), SIZE)
    assert step.causal_timeline is HostZeroed


@pytest.mark.slow
def test_a_graph_that_is_written_computes_the_same(tmp_path: Path) -> None:
    trial = replace(ENCODER, precision="fp32")
    written = GraphWriter(tmp_path, SIZE, torch.get_num_threads())(trial)
    assert written.operators["Conv"] > 20 and written.operators["LayerNormalization"] > 10
    session = onnxruntime.InferenceSession(
        graph_path(tmp_path, trial), providers=["CPUExecutionProvider"]
    )
    calls, expected = reference(model_of("embedded"), "encoder", SIZE, False)
    _, interface = lowered(model_of("embedded"), trial, SIZE)
    given = {
        spec.name: value.numpy()
        for spec, value in zip(interface.inputs, zeros(interface.inputs), strict=True)
    }
    [tokens] = session.run(["tokens"], {**given, **calls[0]})
    np.testing.assert_array_equal(tokens, expected[0]["tokens"])


# --- names --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "trial"),
    [
        ("embedded-encoder-conv3d", Trial("embedded", "encoder", "conv3d")),
        ("full-decoder-one-conv-upsample", Trial("full", "decoder", "one-conv-upsample")),
        ("full-decoder-conv2d-int8@4", Trial("full", "decoder", "conv2d", "int8", 4)),
        (
            "full-decoder-one-conv-upsample-fp32@2@0",
            Trial("full", "decoder", "one-conv-upsample", "fp32", 2, 0),
        ),
    ],
)
def test_a_name_says_all(text: str, trial: Trial) -> None:
    assert Trial.parse(text) == trial
    assert trial.name == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tiny-encoder-conv3d", "there is no model 'tiny'; it is one of embedded, full"),
        ("full-conv3d", "there is no kind 'conv3d'; it is one of encoder, decoder"),
        ("full-encoder-conv4d", "there is no form 'conv4d'; it is one of conv3d, conv2d"),
        ("full-encoder", "there is no form ''"),
        ("full-encoder-one-conv-upsample", "Try full-decoder-one-conv-upsample"),
        ("full-encoder-matmul-int8", "products that INT8 does not know"),
        ("full-encoder-conv3d@high", "got @high. Write for example full-encoder-conv3d@3"),
        ("full-encoder-conv3d@9", "a level of optimization is 0 to 5, got 9"),
        (" , ", "--trials names nothing"),
    ],
)
def test_what_is_no_trial_is_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError) as raised:
        trials_of(text)
    assert said in str(raised.value)


def test_the_most_informative_come_first_and_every_form_comes() -> None:
    names = [trial.name for trial in DEFAULT_TRIALS]
    assert len({*names}) == len(names) and trials_of(",".join(names)) == [*DEFAULT_TRIALS]
    assert names[:4] == [
        f"embedded-{kind}-{form}"
        for form in ("conv3d", "conv2d")
        for kind in ("encoder", "decoder")
    ]
    assert {trial.form for trial in DEFAULT_TRIALS} == {*TRIAL_FORMS}


# --- workers ------------------------------------------------------------------------------------


def heard(workers: Workers, count: int) -> dict[str, Ended]:
    """The first `count` tasks that end, by name."""
    found, end = dict[str, Ended](), time.monotonic() + 60
    while len(found) < count and not workers.unusable:
        assert time.monotonic() < end, "nothing was heard"
        said = workers.read(wait(workers.connections, 1))
        found |= {one.task: one for one in said if isinstance(one, Ended)}
    return found


def played(open_one: Callable[[], Tool], folder: Path, *tasks: str, count: int = 1) -> Workers:
    workers = Workers("worker", count, open_one, folder)
    workers.start()
    for task in tasks:
        workers.give(task, task)
    return workers


def test_a_worker_goes_on_after_a_failure_with_the_same_tool(tmp_path: Path) -> None:
    workers = played(open_tool, tmp_path, "a", "fail", "b")
    ended = heard(workers, 3)
    assert not workers.busy
    workers.close()
    assert ended["a"].value[0] == "A" and ended["a"].value[1] == ended["b"].value[1], "one process"
    assert (ended["fail"].value, ended["fail"].why) == (None, "ValueError: not this one")
    assert (tmp_path / "worker-1.log").read_text() == "opened\n"


def test_another_takes_the_place_of_a_worker_that_dies(tmp_path: Path) -> None:
    workers = played(open_tool, tmp_path, "a", "die", "b")
    ended = heard(workers, 3)
    workers.close()
    assert ended["die"].why == "worker 1 died, exit code 7"
    assert ended["a"].value[1] != ended["b"].value[1]


def test_a_worker_that_hangs_is_killed(tmp_path: Path) -> None:
    workers = played(open_tool, tmp_path, "hang", "a", count=2)
    assert heard(workers, 1)["a"].value[0] == "A"
    assert [*workers.at_work()] == ["hang"] and workers.busy
    workers.close()
    assert workers.connections == []


def test_a_tool_that_does_not_open(tmp_path: Path) -> None:
    workers = played(open_nothing, tmp_path, "a", count=2)
    assert heard(workers, 1) == {}
    workers.close()
    assert "does not start: RuntimeError: there is no such library" in workers.unusable


# --- making -------------------------------------------------------------------------------------


class Played(Workers):
    """Workers without processes: what becomes of each task is known ahead; None: it never ends."""

    def __init__(self, ends: dict[str, Any]) -> None:
        self.ends, self.unusable = ends, ""
        self.given, self.started, self.closed = list[str](), False, False
        self._ended = list[str]()

    def start(self) -> None:
        self.started = True

    @property
    def connections(self) -> list[Any]:
        return []

    @property
    def busy(self) -> bool:
        return len(self.given) > len(self._ended)

    def give(self, name: str, task: Any) -> None:
        self.given.append(name)

    def at_work(self) -> dict[str, float]:
        left = [name for name in self.given if name not in self._ended]
        return dict.fromkeys(left[:1], 12.0)

    def read(self, connections: Sequence[object]) -> list[Opened | Ended]:
        said = list[Opened | Ended]()
        for name in self.given:
            end = self.ends.get(name)
            if end is None:
                break  # those behind it wait
            if name not in self._ended:
                self._ended.append(name)
                failed = isinstance(end, str)
                said.append(Ended(name, None if failed else end, end if failed else "", 3.0))
        return said

    def close(self) -> None:
        self.closed = True


GRAPH = WrittenGraph(2.0, {"Conv": 40, "Add": 10})
ENGINE = BuiltEngine(30.0, 1.5)


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making, "_POLL_S", 0.01)


def test_engines_are_built_as_their_graphs_are_there() -> None:
    chosen = trials_of(
        "embedded-encoder-conv3d,embedded-encoder-conv3d@3,embedded-decoder-conv3d,"
        "embedded-encoder-chunk-tail,embedded-decoder-chunk-tail"
    )
    writers = Played(
        {"embedded-encoder-conv3d": GRAPH, "embedded-decoder-conv3d": "TypeError: no"}
        | {"embedded-encoder-chunk-tail": GRAPH}
    )
    builders = Played(
        {"embedded-encoder-conv3d": ENGINE, "embedded-encoder-conv3d@3": "EngineRefused: not that"}
        | {"embedded-decoder-chunk-tail": ENGINE, "embedded-encoder-chunk-tail": ENGINE}
    )
    lines = list[str]()
    made = make(
        chosen,
        writers=writers,
        builders=builders,
        seconds=30,
        there=lambda trial: trial.graph == "embedded-decoder-chunk-tail",
        say=lines.append,
    )
    assert [(one.status, one.why) for one in made] == [
        ("built", ""),
        ("failed", "not built: EngineRefused: not that"),
        ("failed", "not written: TypeError: no"),
        ("built", ""),
        ("built", ""),
    ]
    assert writers.given == [
        f"embedded-{name}" for name in ("encoder-conv3d", "decoder-conv3d", "encoder-chunk-tail")
    ], "a graph of two trials once, and none that is there"
    assert builders.given[0] == "embedded-decoder-chunk-tail"
    assert writers.closed and builders.closed
    told = "\n".join(lines)
    assert "embedded-encoder-conv3d: written, 50 nodes, 2 s" in told
    assert "embedded-encoder-conv3d: built, 3 s" in told


def test_when_the_time_is_over_it_says_how_far_each_came() -> None:
    chosen = trials_of(
        "embedded-encoder-conv3d,embedded-decoder-conv3d,embedded-encoder-chunk-tail,"
        "embedded-decoder-chunk-tail"
    )
    writers = Played({"embedded-encoder-conv3d": GRAPH, "embedded-decoder-conv3d": GRAPH})
    builders = Played({})
    made = make(chosen, writers=writers, builders=builders, seconds=0.1, say=lambda line: None)
    assert {one.status for one in made} == {"not reached"}
    assert [one.why for one in made] == [
        "not built: the builder had worked on it for 12 s when 0 s were over",
        "not built: it was waiting for a builder when 0 s were over",
        "not written: the exporter had worked on it for 12 s when 0 s were over",
        "not written: it was not begun when 0 s were over",
    ]
    assert builders.closed


def test_without_a_builder_that_starts_nothing_is_waited_for() -> None:
    builders = Played({})
    builders.unusable = "builder 1 does not start: RuntimeError: no driver"
    writers = Played({})
    [made] = make([ENCODER], writers=writers, builders=builders, seconds=60, say=lambda line: None)
    assert (made.status, made.why) == ("failed", builders.unusable)


def test_graphs_alone() -> None:
    writers = Played({ENCODER.graph: GRAPH})
    [made] = make([ENCODER], writers=writers, builders=None, seconds=60, say=lambda line: None)
    assert (made.status, made.graph) == ("written", GRAPH)


# --- timing, with an engine that is played ------------------------------------------------------


class Context:
    """Runs the step in PyTorch on the tensors that it is bound to."""

    profiler: Any = None

    def __init__(self, module: Any, interface: Interface, tensors: dict[str, torch.Tensor]) -> None:
        self.module, self.interface, self.tensors = module, interface, tensors

    def execute_async_v3(self, stream: int) -> None:
        given = [self.tensors[spec.name] for spec in self.interface.inputs]
        with torch.inference_mode():
            for spec, value in zip(self.interface.outputs, self.module(*given), strict=True):
                self.tensors[spec.name].copy_(value)
        if self.profiler is not None:
            self.profiler.report_layer_time("a", 0.5)


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_an_engine_streams_and_is_timed(
    kind: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    trial = Trial("embedded", kind, "chunk-tail")
    module, interface = lowered(model_of("embedded"), replace(trial, precision="fp32"), SIZE)
    specs = (*interface.inputs, *interface.outputs)
    tensors = {spec.name: value for spec, value in zip(specs, zeros(specs), strict=True)}
    layers = [{"Name": "a" * 300, "LayerType": "conv", "Metadata": "long"}]
    layers += [{"Name": "a", "LayerType": "conv"}]
    inspector = SimpleNamespace(
        get_engine_information=lambda format: json.dumps({"Layers": layers})
    )
    engine = SimpleNamespace(
        create_engine_inspector=lambda: inspector, device_memory_size_v2=2_000_000
    )
    stream: Any = SimpleNamespace(cuda_stream=1, synchronize=lambda: None)
    context = Context(module, interface, tensors)
    replays = SimpleNamespace(replay=lambda: None)
    monkeypatch.setattr(timing, "bound_engine", lambda e: Bound(e, context, tensors, stream))
    monkeypatch.setattr(timing, "captured", lambda bound: replays)
    monkeypatch.setattr(timing, "event_times_ms", lambda run, calls: [2.0, 1.0, 4.0])
    monkeypatch.setattr(timing, "back_to_back_ms", lambda run, calls: 1.5)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    trt = SimpleNamespace(
        IProfiler=type("IProfiler", (), {}), LayerInformationFormat=SimpleNamespace(JSON=1)
    )
    runtime = SimpleNamespace(deserialize_cuda_engine=lambda content: engine)
    (tmp_path / "engine").write_bytes(b"engine")
    timed = timing.time_engine(trt, runtime, tmp_path / "engine", trial, SIZE)
    assert (timed.median_ms, timed.min_ms, timed.back_to_back_ms) == (2.0, 1.0, 1.5)
    assert timed.scratch_mb == 2.0 and timed.kinds == {"conv": (2, 0.5)}
    assert timed.layers[0] == {"Name": "a" * 160, "LayerType": "conv", "ms": 0.0}
    assert timed.agreement is not None
    if kind == "encoder":
        assert timed.agreement.equal_tokens == 1.0, "also in the calls that read caches"
    else:
        assert cast(float, timed.agreement.psnr_db) > 50


# --- the command --------------------------------------------------------------------------------


def invoke(*arguments: str | Path) -> Any:
    return CliRunner().invoke(trials.main, [str(argument) for argument in arguments])


def test_the_result_has_what_the_table_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = trials_of("embedded-encoder-conv3d,embedded-decoder-chunk-tail,full-encoder-conv3d")

    def made(given: Sequence[Trial], **options: Any) -> list[Made]:
        assert [*given] == chosen and options["seconds"] == 5
        built = [Made(trial, "built", graph=GRAPH, engine=ENGINE) for trial in chosen[:2]]
        return [*built, Made(chosen[2], "not reached", "not written: it was not begun")]

    def time_engine(trt: Any, runtime: Any, file: Path, trial: Trial, size: int) -> Timed:
        if trial.kind == "decoder":
            raise RuntimeError("CUDA error: an illegal memory access")
        found = Agreement(0.99, None)
        layers = [{"Name": "a", "LayerType": "conv", "ms": 0.3}]
        return Timed(0.4, 0.3, 0.2, 5.0, {"conv": (1, 0.3)}, layers, found)

    monkeypatch.setattr(trials, "make", made)
    monkeypatch.setattr(trials, "_require_tensorrt", lambda: SimpleNamespace())
    monkeypatch.setattr(trials, "_runtime", lambda trt: None)
    monkeypatch.setattr(timing, "time_engine", time_engine)
    names = ",".join(trial.name for trial in chosen)
    done = invoke(tmp_path / "a", "--trials", names, "--seconds", "5")
    assert done.exit_code == 1, "a trial failed"
    path = tmp_path / "a" / "result.json"
    document = json.loads(path.read_text())
    first, second, third = rows_of(document)
    assert first == {
        "trial": "embedded-encoder-conv3d",
        "nodes": 50,
        "CUDA graph ms": 0.4,
        "least ms": 0.3,
        "back to back ms": 0.2,
        "layers": 1,
        "dearest": "1 conv 0.3 ms",
        "tokens equal": 0.99,
        "pictures, dB": None,
        "built in s": 30.0,
        "why not": "",
    }
    assert second["why not"] == "not timed: RuntimeError: CUDA error: an illegal memory access"
    assert third["why not"] == "not written: it was not begun" and third["layers"] is None
    assert document["size"] == 256 and document["machine"]["cores"] > 0
    assert json.loads(layers_beside(path).read_text())["embedded-encoder-conv3d"][0]["Name"] == "a"
    assert "| embedded-encoder-conv3d |" in done.output
    assert rows_of({"results": []}) == []


def test_the_list_says_what_is_hoped_of_each_form() -> None:
    done = invoke("--list")
    assert done.exit_code == 0
    for name, form in TRIAL_FORMS.items():
        assert f"  {name}: {form.hypothesis}" in done.output
    assert "  embedded-encoder-conv3d\n" in done.output


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    done = invoke(tmp_path, "--write-only")
    assert done.exit_code == 2 and "is not empty. Name another folder" in done.output
    done = invoke(tmp_path / "new", "--write-only", "--size", "30")
    assert done.exit_code == 2 and "30" in done.output
    done = invoke(tmp_path / "other", "--write-only", "--output", tmp_path / "no" / "result.json")
    assert done.exit_code and "no" in done.output
    done = invoke("--write-only")
    assert done.exit_code == 2 and "Name a folder for graphs and engines" in done.output
