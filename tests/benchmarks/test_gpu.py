"""`make gpu` rehearsed on a CPU: steps that fail, that do not fit, and what is written of them."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from pathlib import Path
from typing import Any

import gpu
import pytest
from click.testing import CliRunner
from gpu_run import needs
from gpu_run.facts import slug_of
from gpu_run.needs import GPU, ORT_CUDA, TORCH_CUDA
from gpu_run.page import page_of, table_of
from gpu_run.places import Places
from gpu_run.record import Outcome, Record, outcomes, read_record, without
from gpu_run.rehearsal import rehearsal_steps
from gpu_run.running import Ended, run_command, run_steps
from gpu_run.step import Need, Step
from gpu_run.steps import gpu_steps

from vidtok_edge.cli import main
from vidtok_edge.runtime.bench.document_file import read_document
from vidtok_edge.runtime.bench.meters.machine import describe_machine
from vidtok_edge.runtime.bundle import MANIFEST

QUICK = "bundle,prove-cpu,bench-cpu,broken,paced-cpu,prove-cuda"


def step(name: str, code: str = "", **options: Any) -> Step:
    command = (sys.executable, "-c", code)
    facts: dict[str, Any] = {"what": name, "command": command, "expected_s": 1.0, "limit_s": 60.0}
    return Step(name=name, **{**facts, **options})


def ran(
    steps: list[Step], folder: Path, budget_s: float = 100, took: float = 1, code: int | None = 0
) -> list[Outcome]:
    """With a clock of its own, on which each command takes `took` seconds or its limit."""
    found, time = outcomes(steps, {}), [0.0]

    def run(step: Step, limit_s: float, log: Path) -> Ended:
        time[0] += min(took, limit_s)
        return Ended(None if took > limit_s else code, "the last line")

    def changed(outcome: Outcome, left: float) -> None:
        assert left >= -1e-9, "the budget is kept"

    run_steps(steps, found, folder, budget_s, changed=changed, run=run, now=lambda: time[0])
    return found


# --- the run ----------------------------------------------------------------------------------


def test_a_rehearsal_goes_on_after_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def with_one_that_fails(places: Places, given: Path | None) -> list[Step]:
        steps = rehearsal_steps(places, given)
        broken = step("broken", "print('a'); print('no such thing'); raise SystemExit(3)")
        return [*steps[:5], broken, *steps[5:]]

    monkeypatch.setattr(gpu, "rehearsal_steps", with_one_that_fails)
    output, arguments = tmp_path / "result", ["--rehearse", "--only", QUICK, "--output"]
    done = CliRunner().invoke(gpu.main, [*arguments, str(output), "--commit", "abc"])
    assert done.exit_code == 1, done.output
    document = json.loads((output / "result.json").read_text())
    status = {one["name"]: one["status"] for one in document["steps"]}
    assert status == {
        "bundle": "passed",
        "prove-cpu": "passed",
        "bench-cpu": "passed",
        "broken": "failed",
        "paced-cpu": "passed",
        "prove-cuda": "skipped",
    }
    assert document["rehearsal"] and document["commit"] == "abc"
    messages = {one["name"]: one["message"] for one in document["steps"]}
    assert messages["broken"] == "exit code 3: a\nno such thing"
    assert messages["prove-cuda"] == "needs a GPU: this is a rehearsal"
    assert {row["graph"] for row in document["tables"]["Proofs"]} == {"encoder", "decoder"}
    speed = document["tables"]["Speed"]
    assert [row["step"] for row in speed] == ["bench-cpu", "paced-cpu"]
    assert all(row["tokens equal"] == 1 and row["frames/s"] > 0 for row in speed)
    bench = read_document(output / "steps" / "bench-cpu.json")
    assert [one.proven is not None for one in bench.candidates] == [True], "as bench shows it"
    assert all(len(digest) == 64 for digest in document["hashes"].values())
    page = (output / "README.md").read_text()
    assert page == page_of(document), "from the JSON alone"
    assert "no such thing" in page and "1 failed, 1 skipped" in page
    assert str(tmp_path) not in page and str(Path.home()) not in page, "it is made to be sent"
    assert (output / "logs" / "broken.txt").read_text() == "a\nno such thing\n"

    again = CliRunner().invoke(gpu.main, [*arguments, str(output)])
    assert again.exit_code == 2 and "replace it with --force" in again.output
    (output / "README.md").unlink()
    assert CliRunner().invoke(gpu.main, ["--page", str(output)]).exit_code == 0
    assert (output / "README.md").read_text() == page


def test_a_step_whose_figures_cannot_be_read_ends_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def steps(places: Places, given: Path | None) -> list[Step]:
        odd = f"open({str(places.found('odd'))!r}, 'w').write('{{\"device_frames\": {{}}}}')"
        removed = f"import os; os.remove({str(places.found('odd'))!r})"
        return [step("odd", odd), step("next", removed)]

    monkeypatch.setattr(gpu, "rehearsal_steps", steps)
    output = tmp_path / "result"
    done = CliRunner().invoke(gpu.main, ["--rehearse", "--output", str(output)])
    assert done.exit_code == 1, done.output
    odd, after = json.loads((output / "result.json").read_text())["steps"]
    assert odd["message"] == "what it wrote cannot be read: KeyError: 'backend'"
    assert (odd["status"], after["status"]) == ("failed", "passed")


def test_what_cannot_be_read_is_said_without_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(record: Record, places: Places) -> None:
        raise PermissionError(13, "Permission denied", str(places.output / "bench.json"))

    monkeypatch.setattr(gpu, "collect", refused)
    places, one = Places(tmp_path / "result", tmp_path / "scratch"), outcomes([step("a")], {})[0]
    gpu._collect(Record.__new__(Record), places, one)
    assert one.status == "failed" and "Permission denied" in one.message
    assert str(tmp_path) not in one.message


def test_without_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "GPU", Need("a GPU", lambda: "there is no driver"))
    done = CliRunner().invoke(gpu.main, ["--output", str(tmp_path / "result")])
    assert done.exit_code == 4
    assert "There is no GPU to measure: there is no driver. Without one: --rehearse" in done.output
    assert not (tmp_path / "result").exists()


@pytest.mark.parametrize("rehearse", [True, False])
def test_the_list_runs_nothing(tmp_path: Path, rehearse: bool) -> None:
    options = ["--list", "--output", str(tmp_path / "result"), *["--rehearse"] * rehearse]
    done = CliRunner().invoke(gpu.main, options)
    assert done.exit_code == 0, done.output
    assert "bundle" in done.output and "420 s are allowed" in done.output
    assert ("not here: a GPU" in done.output) == (rehearse or bool(GPU.missing()))
    assert not (tmp_path / "result").exists()


def test_a_folder_that_is_no_result_is_kept(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    options = ["--rehearse", "--only", "doctor", "--force", "--output", str(tmp_path)]
    done = CliRunner().invoke(gpu.main, options)
    assert done.exit_code == 2 and "--force replaces nothing else" in done.output
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_a_bundle_that_is_named_is_not_named_in_what_is_sent(tmp_path: Path) -> None:
    given = tmp_path / "mine"
    places = Places(tmp_path / "out", tmp_path / "scratch", given)
    one = outcomes(gpu_steps(places, places.given), places.shown)[1]
    assert "BUNDLE SCRATCH/embedded" in one.command and str(tmp_path) not in one.command


def test_a_step_that_is_none(tmp_path: Path) -> None:
    done = CliRunner().invoke(gpu.main, ["--list", "--only", "doctor,nothing"])
    assert done.exit_code == 2 and "--only names ['nothing']; the steps are doctor," in done.output


# --- steps and their time ---------------------------------------------------------------------


def test_what_does_not_fit_is_skipped_and_what_follows_may_fit(tmp_path: Path) -> None:
    steps = [step("a"), step("long", expected_s=50), step("b")]
    a, long, b = ran(steps, tmp_path, budget_s=40, took=10)
    assert (a.status, b.status) == ("passed", "passed")
    assert long.status == "skipped" and long.seconds is None
    assert long.message == "takes about 50 s, and 30 s are left"


def test_what_takes_longer_is_stopped_at_its_limit_or_at_the_end(tmp_path: Path) -> None:
    steps = [step("a", limit_s=60), step("b", limit_s=60), step("c")]
    a, b, c = ran(steps, tmp_path, budget_s=90, took=1000)
    assert (a.status, a.seconds) == ("failed", 60)
    assert a.message.startswith("stopped after 60 s, its limit; the last line")
    assert (b.status, b.seconds) == ("failed", 30)
    assert b.message.startswith("stopped after 30 s, when the time of the run was over")
    assert c.status == "skipped"


def test_a_step_waits_for_what_it_needs(tmp_path: Path) -> None:
    here, not_here = Need("air", lambda: ""), Need("gold", lambda: "dig")
    steps = [
        step("fails"),
        step("follows", after=("fails",)),
        step("rich", needs=(here, not_here)),
        step("poor", after=("rich",)),
        step("lost", after=("elsewhere",)),
    ]
    found = ran(steps, tmp_path, code=2)
    assert [one.status for one in found] == ["failed", *["skipped"] * 4]
    assert [one.message for one in found[1:]] == [
        "needs the step fails, which failed",
        "needs gold: dig",
        "needs the step rich, which was skipped",
        "needs the step elsewhere, which is not part of this run",
    ]


def test_engines_that_fail_their_proof_are_timed_all_the_same(tmp_path: Path) -> None:
    build = step("build", leaves_at=frozenset({0, 1}))
    found = ran([build, step("bench", after=("build",))], tmp_path, code=1)
    assert [one.status for one in found] == ["failed", "failed"], "both were run"
    assert ran([build, step("bench", after=("build",))], tmp_path, code=2)[1].status == "skipped"
    steps = gpu_steps(Places(tmp_path / "out", tmp_path / "scratch"), None)
    assert {1 in one.leaves_at for one in steps if one.name.startswith("engines-")} == {True}


def test_a_command_that_hangs_is_ended_with_what_it_started(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, time; print('begun', flush=True);"
        "subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    )
    ended = run_command(step("hangs", code), 2.0, tmp_path / "log.txt")
    assert ended == Ended(None, "begun")


def test_a_command_is_told_to_end_before_it_is_killed(tmp_path: Path) -> None:
    code = (
        "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit('written'));"
        "print('begun', flush=True); time.sleep(60)"
    )
    ended = run_command(step("ends", code), 4.0, tmp_path / "log.txt")
    assert ended == Ended(None, "begun\nwritten"), "it was stopped, whatever its exit code"


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    steps = [step("absent", command=("/no/such/program",))]
    found = outcomes(steps, {})
    run_steps(steps, found, tmp_path, 100, changed=lambda outcome, left: None)
    assert found[0].status == "failed"
    assert "/no/such/program does not start: No such file" in found[0].message


def test_a_limit_below_what_is_expected() -> None:
    with pytest.raises(ValueError, match="no more than the limit"):
        step("a", expected_s=100, limit_s=10)


@pytest.mark.parametrize("given", [None, Path("bundle")])
def test_steps_come_after_what_they_need(tmp_path: Path, given: Path | None) -> None:
    steps = gpu_steps(Places(tmp_path / "out", tmp_path / "scratch"), given)
    names = [one.name for one in steps]
    assert len({*names}) == len(names)
    for number, one in enumerate(steps):
        assert {*one.after} <= {*names[:number]}, one.name
    assert given is not None or "export" in next(s for s in steps if s.name == "bundle").command


def test_pytorch_is_measured_after_the_engines_of_tensorrt(tiny: Path, tmp_path: Path) -> None:
    """Each way in a step of its own, without a library for video."""
    steps = gpu_steps(Places(tmp_path / "out", tmp_path / "scratch"), None)
    names = [one.name for one in steps]
    manifest = json.loads((tiny / MANIFEST).read_text())
    manifest["graphs"] += [{**graph, "precision": "fp16"} for graph in manifest["graphs"]]
    (tiny / MANIFEST).write_text(json.dumps(manifest))
    for name, measured in (
        ("bench-torch-cuda", "torch-cuda"),
        ("bench-torch-graphs", "torch-compile-cuda reduce-overhead"),
        ("bench-torch-compiled", "torch-compile-cuda default"),
    ):
        found = steps[names.index(name)]
        assert names.index("bench-tensorrt-fp16") < names.index(name)
        assert {need.name for need in found.needs} == {
            *("a GPU", "PyTorch for CUDA", "what writes graphs, of the extra `export`")
        }
        options = found.command[found.command.index("bench") + 2 :]
        listed = CliRunner().invoke(main, ["bench", str(tiny), *options, "--dry-run"])
        assert listed.exit_code == 0, listed.output
        assert "1. bundle auto fp16" in listed.output
        assert f"2. bundle {measured} fp16" in listed.output and "3. " not in listed.output


def test_what_a_library_says_that_ends_its_process() -> None:
    assert needs._told("print('no GPU')") == "no GPU"
    assert needs._told("import os; os.abort()") == "it does not load: its process ended with -6"
    said = needs._told("raise OSError('libcudart.so: not found')")
    assert said == "it does not load: OSError: libcudart.so: not found"


def test_a_library_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs, "ASKED_S", 0.5)
    assert needs._told("import time; time.sleep(60)") == "it does not start within 0.5 s"


@pytest.mark.skipif(not GPU.missing(), reason="there is a GPU")
def test_why_pytorch_and_onnx_runtime_have_no_gpu() -> None:
    assert re.search(r"PyTorch \S+ (is one for the CPU|sees no GPU)", TORCH_CUDA.missing())
    assert re.search(r"this ONNX Runtime is one for the CPU|no NVIDIA", ORT_CUDA.missing())


# --- what is written --------------------------------------------------------------------------


def test_a_result_names_no_place_of_the_machine(tmp_path: Path) -> None:
    places = Places(tmp_path / "out", tmp_path / "scratch")
    for one in outcomes(gpu_steps(places, None), places.shown):
        assert str(tmp_path) not in one.command and sys.executable not in one.command
    assert without(f"{tmp_path}/out/a", places.shown) == "OUT/a"


def test_a_table_shows_columns_that_say_something() -> None:
    rows: list[dict[str, Any]] = [
        {"a": 1.23456, "b": None, "c": True},
        {"a": None, "b": None, "c": "x|y"},
    ]
    assert table_of(rows) == "| a | c |\n| --- | --- |\n| 1.235 | yes |\n| - | x\\|y |"


@pytest.mark.parametrize("text", [None, "{", "[]", '{"format": "another"}'])
def test_what_is_no_result_has_no_page(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "result.json").write_text(text)
    done = CliRunner().invoke(gpu.main, ["--page", str(tmp_path)])
    assert done.exit_code == 3 and "result.json" in done.output
    assert "Name a folder" in done.output and not (tmp_path / "README.md").exists()


def test_a_result_of_another_schema(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text('{"format": "vidtok-edge gpu run", "schema": 7}')
    with pytest.raises(Exception, match="is of schema 7, and this checkout reads 1"):
        read_record(tmp_path)


def test_the_folder_is_called_after_the_device() -> None:
    packages = {"tensorrt": "10.6.0", "numpy": "2"}
    machine = dataclasses.replace(
        describe_machine(), board="", gpu="NVIDIA H200, sm90, 143.8 GB", packages=packages
    )
    assert slug_of(machine, "2026-11-26") == "2026-11-26-h200-tensorrt-10.6.0"
    board = dataclasses.replace(machine, board="NVIDIA Jetson Orin Nano", packages={})
    assert slug_of(board, "2026-11-26") == "2026-11-26-jetson-orin-nano"
