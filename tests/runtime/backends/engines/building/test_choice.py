"""Which engine is kept where several could do; built for real, measured on fakes."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from click.testing import CliRunner
from engine_graphs import write_engine_bundle
from fake_step import FakeStep, fake_manifest
from hypothesis import given
from hypothesis import strategies as st

from vidtok_edge.cli import main
from vidtok_edge.errors import EngineRefused, UsageError
from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.backends.backend import Target
from vidtok_edge.runtime.backends.engines.building import (
    choice as engine_choice,
)
from vidtok_edge.runtime.backends.engines.building import (
    targets as engine_targets,
)
from vidtok_edge.runtime.backends.engines.building.build import (
    BuildRequest,
    EnginePlan,
    PlannedEngine,
    build_engines,
)
from vidtok_edge.runtime.backends.engines.building.choice import (
    Measured,
    build_fastest,
    choose,
    plan_forms,
)
from vidtok_edge.runtime.backends.engines.sidecar import EngineHost, read_sidecar
from vidtok_edge.runtime.backends.gpu import Gpu
from vidtok_edge.runtime.bundle import FORMS, MANIFEST
from vidtok_edge.runtime.manifest.graphs import GraphSpec
from vidtok_edge.runtime.manifest.manifest import Manifest

HERE = EngineHost(target=Target.TENSORRT_RTX, version="1.7.1", gpu="sm86")


def measured(precision: Any, form: Any, step_ms: float, fault: str = "") -> Measured:
    graph = replace(fake_manifest().graph("encoder"), precision=precision, form=form)
    return Measured(PlannedEngine(graph, HERE, Path(f"{precision}.{form}"), ""), step_ms, fault)


# --- the choice -------------------------------------------------------------------------------

TIMES = st.dictionaries(
    st.tuples(st.sampled_from(["fp32", "fp16", "int8"]), st.sampled_from(["conv2d", "conv3d"])),
    st.floats(0.01, 100),
    min_size=1,
)


@given(TIMES)
def test_each_engine_is_kept_or_slower_than_one_that_is(
    times: dict[tuple[str, str], float],
) -> None:
    engines = [measured(*key, step_ms) for key, step_ms in times.items()]
    choices = choose(engines)
    named = [one for choice in choices for one in (choice.kept, *choice.others)]
    assert Counter(map(str, named)) == Counter(map(str, engines)), "each once"
    for choice in choices:
        assert all(choice.kept.step_ms <= one.step_ms for one in choice.others)
    fastest = {p: min(t for (q, _), t in times.items() if q == p) for p, _ in times}
    kept = {choice.kept.engine.graph.precision: choice.kept.step_ms for choice in choices}
    beaten = fastest.get("int8", 0) >= fastest.get("fp16", 1000)
    assert kept == {p: t for p, t in fastest.items() if not (p == "int8" and beaten)}


@given(TIMES, st.data())
def test_one_that_does_not_pass_is_kept_only_where_none_does(
    times: dict[tuple[str, str], float], data: st.DataObject
) -> None:
    engines = [
        measured(*key, step_ms, data.draw(st.sampled_from(["", "wrong"])))
        for key, step_ms in times.items()
    ]
    for choice in choose(engines):
        beside = [choice.kept, *choice.others]
        if choice.kept.fault:
            assert all(one.fault for one in beside)
        passing = [one.step_ms for one in beside if not one.fault]
        assert choice.kept.step_ms == min(passing or [one.step_ms for one in beside])


# --- building and measuring -------------------------------------------------------------------

pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")
RTX = Gpu("NVIDIA RTX A2000", "sm86", 6 << 30)


@pytest.fixture
def bundle(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle with fp16 and INT8 graphs in two forms, on a machine with a GPU."""
    write_engine_bundle(tiny, Bundle.load(tiny).manifest, "fp16", "int8")
    other = Path(shutil.copytree(tiny, tiny / FORMS / "conv3d"))
    manifest = Manifest.from_json((other / MANIFEST).read_text())
    graphs = tuple(replace(graph, form="conv3d") for graph in manifest.graphs)
    (other / MANIFEST).write_text(replace(manifest, graphs=graphs).to_json())
    for module in (engine_choice, engine_targets):
        monkeypatch.setattr(module, "present_gpu", lambda: RTX)
    monkeypatch.setattr(engine_choice, "ROUNDS", 3)
    monkeypatch.setattr(engine_choice, "_CALLS", 1)
    monkeypatch.setattr(engine_choice, "time", Clock)
    return tiny


class Clock:
    """In place of the module `time`: steps move it, so how busy the machine is decides nothing."""

    seconds = 0.0

    @classmethod
    def perf_counter(cls) -> float:
        return cls.seconds


class TimedStep(FakeStep):
    """A step whose calls take a while."""

    def __init__(self, seconds: float) -> None:
        super().__init__(fake_manifest(), "encoder")
        self.seconds = seconds

    def run(self) -> None:
        Clock.seconds += self.seconds


def opening(times: dict[str, float]) -> Any:
    """Opens engines that take so many ms, by `encoder int8 conv2d`."""

    def opened(folder: Path, graph: GraphSpec, target: str) -> TimedStep:
        assert list((folder / "engines").glob(f"{graph.kind}.{graph.precision}.*.engine"))
        return TimedStep(times[f"{graph.kind} {graph.precision} {graph.form}"] / 1000)

    return opened


TIMES_MS = {
    "encoder fp16 conv2d": 8.0,
    "encoder fp16 conv3d": 4.0,
    "encoder int8 conv2d": 1.0,
    "encoder int8 conv3d": 12.0,
    "decoder fp16 conv2d": 2.0,
    "decoder fp16 conv3d": 6.0,
    "decoder int8 conv2d": 10.0,
    "decoder int8 conv3d": 14.0,
}


def engines(bundle: Path) -> set[str]:
    return {str(path.relative_to(bundle)) for path in bundle.rglob("*.engine")}


def test_the_fastest_are_kept_and_the_sidecar_says_what_they_beat(bundle: Path) -> None:
    plans = plan_forms(BuildRequest(bundle, Target.TENSORRT_RTX, gpus=("sm86",)))
    assert [len(plan.engines) for plan in plans] == [4, 4]
    choices = build_fastest(plans, opened=opening(TIMES_MS))
    name = "engines/{}.{}.tensorrt-rtx.sm86.engine".format
    assert engines(bundle) == {
        f"forms/conv3d/{name('encoder', 'fp16')}",
        name("encoder", "int8"),
        name("decoder", "fp16"),
    }
    assert {path.with_suffix("").name for path in bundle.rglob("*sm86.json")} == {
        Path(engine).with_suffix("").name for engine in engines(bundle)
    }
    assert all(not choice.kept.fault for choice in choices), "nobody looked"
    decoder = read_sidecar(bundle / name("decoder", "fp16"))
    assert decoder.step_ms == pytest.approx(2)
    assert [(one.precision, one.form) for one in decoder.slower] == [
        ("fp16", "conv3d"),
        ("int8", "conv2d"),
        ("int8", "conv3d"),
    ]
    assert len(choices) == 3
    assert read_sidecar(bundle / name("encoder", "int8")).slower[0].form == "conv3d"


def test_the_fastest_goes_where_it_gives_something_wrong(bundle: Path) -> None:
    def fault_of(at: Bundle, engine: PlannedEngine) -> str:
        assert engine.path.is_relative_to(at.path) and engine.path.is_file()
        wrong = (engine.graph.kind, engine.graph.precision, engine.graph.form)
        return "98.6% of the tokens" if wrong == ("encoder", "fp16", "conv3d") else ""

    plans = plan_forms(BuildRequest(bundle, Target.TENSORRT_RTX, ("fp16",), ("sm86",)))
    choice, _ = build_fastest(plans, opened=opening(TIMES_MS), fault_of=fault_of)
    assert str(choice.others[0]).endswith("ms, does not pass (98.6% of the tokens)")
    assert engines(bundle) == {
        "engines/encoder.fp16.tensorrt-rtx.sm86.engine",
        "engines/decoder.fp16.tensorrt-rtx.sm86.engine",
    }
    sidecar = read_sidecar(choice.kept.engine.path)
    assert not sidecar.slower
    assert [(one.form, one.fault) for one in sidecar.faulty] == [("conv3d", "98.6% of the tokens")]


def failing_until_summed_in_float32(at: Bundle, engine: PlannedEngine) -> str:
    wide = read_sidecar(engine.path).float32_sums
    return "" if wide or engine.graph.kind == "decoder" else "98.6% of the tokens"


def test_where_nothing_passes_sums_are_float32(bundle: Path) -> None:
    plans = plan_forms(BuildRequest(bundle, Target.TENSORRT_RTX, ("fp16",), ("sm86",)))
    encoder, decoder = build_fastest(
        plans, opened=opening(TIMES_MS), fault_of=failing_until_summed_in_float32
    )
    assert encoder.kept.float32_sums and not encoder.kept.fault
    assert str(encoder.kept).endswith("ms, sums in float32")
    assert engines(bundle) == {
        "forms/conv3d/engines/encoder.fp16.tensorrt-rtx.sm86.engine",
        "engines/decoder.fp16.tensorrt-rtx.sm86.engine",
    }
    sidecar = read_sidecar(encoder.kept.engine.path)
    assert sidecar.float32_sums
    assert [(one.form, one.float32_sums) for one in sidecar.slower] == [("conv2d", True)]
    assert {(one.form, one.float32_sums) for one in sidecar.faulty} == {
        ("conv2d", False),
        ("conv3d", False),
    }
    assert not read_sidecar(decoder.kept.engine.path).float32_sums, "it passed"


def test_where_sums_cannot_be_float32_the_fastest_stays_and_says_why(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(plan: EnginePlan, stage: Any) -> Any:
        if plan.request.options.float32_sums:
            raise EngineRefused("no TF32 here")
        return build_engines(plan, stage)

    monkeypatch.setattr(engine_choice, "build_engines", refusing)
    plans = plan_forms(BuildRequest(bundle, Target.TENSORRT_RTX, ("fp16",), ("sm86",)))
    encoder, _ = build_fastest(
        plans, opened=opening(TIMES_MS), fault_of=failing_until_summed_in_float32
    )
    assert encoder.kept.engine.graph.form == "conv3d"
    assert encoder.kept.fault == "98.6% of the tokens; with sums in float32: no TF32 here"
    assert not read_sidecar(encoder.kept.engine.path).float32_sums


def test_a_stream_runs_the_form_that_was_kept(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans = plan_forms(BuildRequest(bundle, Target.TENSORRT_RTX, gpus=("sm86",)))
    build_fastest(plans, opened=opening(TIMES_MS))
    from vidtok_edge.runtime.backends.engines import step

    opened = []

    def engine_step(graph: GraphSpec, content: bytes, *rest: Any) -> TimedStep:
        opened.append((graph.kind, graph.precision, graph.form))
        return TimedStep(0)

    monkeypatch.setattr(step, "present_gpu", lambda: RTX)
    monkeypatch.setattr(step, "load_cuda", lambda target: None)
    monkeypatch.setattr(step, "EngineStep", engine_step)
    loaded = Bundle.load(bundle)
    for kind in ("encoder", "decoder"):
        loaded.step(cast(Any, kind), "tensorrt-rtx", "fp16").close()
    assert opened == [("encoder", "fp16", "conv3d"), ("decoder", "fp16", "conv2d")]


def test_what_cannot_be_measured_is_refused(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="for sm120, but this one is sm86"):
        plan_forms(BuildRequest(bundle, Target.TENSORRT_RTX, gpus=("sm120",)))
    monkeypatch.setattr(engine_choice, "present_gpu", lambda: None)
    with pytest.raises(UsageError, match="but no GPU is present"):
        plan_forms(BuildRequest(bundle, Target.TENSORRT_RTX, gpus=("sm86",)))
    assert not engines(bundle)


def test_one_form_and_one_precision_leave_nothing_to_choose(bundle: Path) -> None:
    shutil.rmtree(bundle / FORMS)
    with pytest.raises(UsageError, match=r"nothing to choose from.*--form conv2d,conv3d"):
        plan_forms(BuildRequest(bundle, Target.TENSORRT_RTX, ("fp16",), ("sm86",)))
    assert len(plan_forms(BuildRequest(bundle, Target.TENSORRT_RTX, gpus=("sm86",)))) == 1


def test_the_command_says_what_was_faster(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = engine_choice.build_fastest

    def fake(plans: Any, stage: Any, fault_of: Any) -> Any:
        return real(plans, stage, opening(TIMES_MS), fault_of)

    monkeypatch.setattr(engine_choice, "build_fastest", fake)
    arguments = ["build", str(bundle), "--target", "tensorrt-rtx", "--form", "auto"]
    result = CliRunner().invoke(main, [*arguments, "--dry-run"])
    assert result.exit_code == 0 and result.output.count("would be built") == 8, result.output
    assert not engines(bundle)
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert result.output.count("measuring encoders") == 1
    assert "is chosen by its speed alone" in result.output, "the bundle has no golden stream"
    [line] = [line for line in result.output.splitlines() if "not kept: fp16 conv2d" in line]
    assert line.startswith("encoder.fp16.tensorrt-rtx.sm86.engine") and "fp16 conv3d" in line
