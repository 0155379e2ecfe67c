"""`make gpu`: what runs when steps fail or time runs out, and a rehearsal without a GPU."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gpu_run
import pytest
from click.testing import CliRunner
from gpu_page import page_of
from gpu_run import Outcome, chosen, default_folder, main, missing_for, run_all, run_process
from gpu_steps import NEEDS, Places, Step, rehearsal, steps

from vidtok_edge.runtime.backends.gpu import Gpu

if TYPE_CHECKING:
    from vidtok_edge.export import Exported


def places(folder: Path) -> Places:
    return Places(folder=folder, bundle=folder / "bundle", full_width=folder / "full")


def step(name: str, *, after: tuple[str, ...] = (), seconds: float = 1.0, **more: Any) -> Step:
    facts = {"does": f"does {name}", "command": ("true",), "limit_s": 10.0, **more}
    return Step(name=name, after=after, expected_s=seconds, **facts)


def played(fate: dict[str, str], seen: list[tuple[str, float]]) -> Callable[..., Outcome]:
    def run(it: Step, log: Path, limit_s: float) -> Outcome:
        seen.append((it.name, limit_s))
        status: Any = fate.get(it.name, "passed")
        why = "" if status == "passed" else "exit code 3"
        tail = ("what it said",)
        return Outcome(name=it.name, does=it.does, status=status, why=why, tail=tail)

    return run


def result_of(folder: Path) -> tuple[dict[str, tuple[str, str]], str]:
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    found = {it["name"]: (it["status"], it["why"]) for it in result["steps"]}
    return found, (folder / "README.md").read_text(encoding="utf-8")


def test_it_goes_on_after_a_failure_and_says_so(tmp_path: Path) -> None:
    wanted = [step("a"), step("b", after=("a",)), step("c"), step("d", after=("b",))]
    seen: list[tuple[str, float]] = []
    run_all(wanted, places(tmp_path), 60, True, played({"a": "failed"}, seen))
    assert [name for name, _ in seen] == ["a", "c"]
    found, page = result_of(tmp_path)
    assert found["a"] == ("failed", "exit code 3") and found["c"] == ("passed", "")
    assert found["b"] == ("not run", "a did not pass") and found["d"][0] == "not run"
    assert "| a | failed |" in page and "## The end of a" in page and "what it said" in page


def test_what_does_not_fit_into_the_time_is_not_begun(tmp_path: Path) -> None:
    wanted = [step("long", seconds=1000), step("short"), step("bounded", seconds=20, limit_s=90.0)]
    seen: list[tuple[str, float]] = []
    run_all(wanted, places(tmp_path), 30, True, played({}, seen))
    found, _ = result_of(tmp_path)
    assert found["long"][0] == "not run" and "and it takes about 1000" in found["long"][1]
    assert [name for name, _ in seen] == ["short", "bounded"]
    assert all(limit <= 30 for _, limit in seen), "no step may run beyond the end"


def test_what_is_not_here_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NEEDS, "gpu", ("an NVIDIA GPU", lambda: False))
    run_all([step("a", needs=("gpu",))], places(tmp_path), 60, True, played({}, []))
    found, _ = result_of(tmp_path)
    assert found["a"] == ("not run", "not here: an NVIDIA GPU")


def test_results_are_there_after_each_step(tmp_path: Path) -> None:
    def ends(it: Step, log: Path, limit_s: float) -> Outcome:
        if it.name == "b":
            raise KeyboardInterrupt
        return Outcome(name=it.name, does="", status="passed")

    with pytest.raises(KeyboardInterrupt):
        run_all([step("a"), step("b")], places(tmp_path), 60, True, ends)
    found, page = result_of(tmp_path)
    assert found == {"a": ("passed", "")} and page
    assert not list(tmp_path.glob("*.part"))


def test_a_process_is_logged_ended_and_judged(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    shout = (sys.executable, "-c", "print('one'); print('two'); raise SystemExit(5)")
    failed = run_process(step("x", command=shout), log, 30)
    assert (failed.status, failed.why, failed.tail) == ("failed", "exit code 5", ("one", "two"))
    assert log.read_text() == "one\ntwo\n"
    sleep = (sys.executable, "-c", "import time; time.sleep(60)")
    ended = run_process(step("x", command=sleep), log, 0.5)
    assert ended.status == "ended" and "longer than" in ended.why
    absent = run_process(step("x", command=("no-such-program",)), log, 5)
    assert absent.status == "failed" and "no-such-program" in absent.why


def test_steps_are_chosen_with_what_they_come_after(tmp_path: Path) -> None:
    everything = steps(places(tmp_path))
    names = [it.name for it in chosen(everything, "bench", False)]
    assert names == ["bundle", "engines-fp16", "bench"]
    assert [it.name for it in chosen(everything, "bench", True)] == ["engines-fp16", "bench"]
    assert len(chosen(everything, "", False)) == len(everything)
    done = CliRunner().invoke(main, ["--list", "--only", "nothing"])
    assert done.exit_code == 2 and "There is no step nothing; there are settings" in done.output


def test_every_step_comes_after_those_that_it_needs(tmp_path: Path) -> None:
    for made in (steps(places(tmp_path)), rehearsal(places(tmp_path))):
        before: set[str] = set()
        for it in made:
            assert set(it.after) <= before and set(it.needs) <= set(NEEDS)
            assert it.expected_s <= it.limit_s
            before.add(it.name)


def test_without_a_gpu_it_says_so_and_lists_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_run, "present_gpu", lambda: None)
    done = CliRunner().invoke(main, [])
    assert done.exit_code == 4 and "There is no NVIDIA GPU here" in done.output
    listed = CliRunner().invoke(main, ["--list"])
    assert listed.exit_code == 0 and "engines-fp16" in listed.output


def test_results_are_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text("{}")
    done = CliRunner().invoke(main, ["--rehearse", "--output", str(tmp_path)])
    assert done.exit_code == 2 and "holds results already" in done.output
    assert (tmp_path / "result.json").read_text() == "{}"


def test_a_folder_is_named_for_the_day_and_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_run, "present_gpu", lambda: Gpu("NVIDIA H200 (SXM)", "sm90", 1))
    assert default_folder().name[10:] == "-nvidia-h200-sxm"
    assert default_folder(rehearse=True).name.endswith("-rehearsal")


def test_the_page_shows_what_steps_found() -> None:
    half = {"metric": "tokens", "value": 0.991, "limit": 0.99, "p50_ms": 0.87, "p99_ms": 0.9}
    proof = {"backend": "tensorrt", "precision": "fp16", "verdict": "passed"}
    figures = {"backend": "tensorrt", "frames_per_s": 992.0, "decoder": None}
    latency = {"p50_ms": 1.2, "p99_ms": None}
    result = {
        "rehearsed": False,
        "made": "2026-11-27",
        "commit": "abc",
        "driver": "580.1",
        "machine": {"GPU": "NVIDIA H200", "CPU": "x"},
        "steps": [],
        "found": {
            "proof/a.json": {**proof, "encoder": half, "decoder": {**half, "metric": "dB"}},
            "bench.json": {
                "candidates": [
                    {
                        "name": "b|fp16",
                        "figures": {**figures, "latency": latency, "encoder": {"compute_ms": 0.87}},
                    }
                ]
            },
            "gpu_checks.json": {
                "results": [
                    {"what": "original", "kind": "encoder", "call_ms": 6.51},
                    {"what": "compiled", "left_out": "no time"},
                ]
            },
            "layers-encoder.json": {"median_ms": 3.25, "layers": 358},
            "layers-decoder.json": {"unreadable": "KeyError"},
        },
    }
    page = page_of(result)
    for row in (
        "| tensorrt | fp16 | encoder | passed | 99.10% | 99.00% | 0.87 | 0.90 |",
        "| b/fp16 | tensorrt | 992 | 1.2 | - | 0.87 | - |",
        "| original, encoder | 6.51 | - | - | - |",
        "| compiled | no time |  |  |  |",
        "| encoder | 3.25 | 358 |",
        "| layers-decoder.json | KeyError |",
    ):
        assert row in page
    assert page.startswith("# NVIDIA H200\n") and "rehearsal" not in page


@pytest.mark.slow
@pytest.mark.xdist_group("precisions")
def test_a_rehearsal(precisions: Exported, tmp_path: Path) -> None:
    """Real processes on the CPU; what needs a GPU is named and not run."""
    bundle = shutil.copytree(precisions.bundle.path, tmp_path / "bundle")  # proofs go into it
    command = ["--rehearse", "--output", str(tmp_path / "out"), "--bundle", str(bundle)]
    done = CliRunner().invoke(main, command)
    found, page = result_of(tmp_path / "out")
    status = {name: status for name, (status, _) in found.items()}
    assert status.pop("settings") in ("passed", "failed"), "as this machine is"
    passed = {name for name, it in status.items() if it == "passed"}
    assert passed >= {"prove", "bench", "gpu-checks"}, done.output
    if missing_for(steps(places(tmp_path))[2]):  # no engines are built here
        assert status["engines-fp16"] == status["tests"] == "not run"
        assert "an NVIDIA GPU" in found["engines-fp16"][1]
    assert "## Proofs" in page and "## Benchmark" in page and "A rehearsal" in page
    assert (tmp_path / "out/proof").is_dir() and (tmp_path / "out/logs/bench.log").is_file()
