"""`bench` as a person meets it."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tiny_golden import write_tiny_golden

from vidtok_edge.cli import main
from vidtok_edge.commands.bench_work import with_ceilings, with_work
from vidtok_edge.errors import BackendUnavailable, CheckFailed
from vidtok_edge.export.planning.plan import plan_of
from vidtok_edge.lowering.step import StepOptions
from vidtok_edge.runtime.bench.ceilings import CallWork
from vidtok_edge.runtime.bench.document_file import read_document
from vidtok_edge.runtime.bench.measuring import matrix
from vidtok_edge.runtime.bench.measuring.candidate import Candidate
from vidtok_edge.runtime.bench.measuring.turn import Turn, run_turn
from vidtok_edge.runtime.bench.settings import Settings
from vidtok_edge.runtime.bundle import MANIFEST
from vidtok_edge.variants import variant_by_name

QUICK = ["--seconds", "0.3", "--warmup", "0", "--backend", "cpu"]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments], catch_exceptions=False)


@pytest.mark.slow
def test_a_paced_run_prints_its_tables_and_writes_both_files(tiny: Path, tmp_path: Path) -> None:
    files = ["--json", tmp_path / "a.json", "--html", tmp_path / "a.html"]
    result = run("bench", tiny, "--paced", 100, "--queue", "drop-oldest", *QUICK, *files)
    assert result.exit_code == 0, result.output
    for text in (
        "paced: cameras at 100 frames/s, 8 wait at most, then drop-oldest",
        "1. bundle cpu fp32",
        "p99.9",
        "Speed and backlog",
        "The machine meanwhile",
    ):
        assert text in result.output
    assert "Against" not in result.output, "there is nobody to compare with"
    document = json.loads((tmp_path / "a.json").read_text())
    assert document["settings"]["pace"] == {"fps": 100.0, "policy": "drop-oldest", "capacity": 8}
    assert document["settings"]["rounds"] == 1
    assert (tmp_path / "a.html").read_text().startswith("<!doctype html>")
    again = run("bench", tiny, *QUICK, *files)
    assert again.exit_code == 2 and "exists already" in again.output
    assert "Latency of a latent" not in again.output, "said before anything was measured"


@pytest.mark.slow
def test_the_proof_that_it_runs_under_is_named_or_missed(tiny: Path, tmp_path: Path) -> None:
    result = run("bench", tiny, *QUICK, "--json", tmp_path / "a.json")
    [one] = json.loads((tmp_path / "a.json").read_text())["candidates"]
    assert one["proof"].startswith("no proof: run: vidtok-edge prove ")
    assert "warning: bundle cpu fp32: no proof: run: vidtok-edge prove " in result.stderr
    write_tiny_golden(tiny)
    assert run("prove", tiny).exit_code == 0
    result = run("bench", tiny, *QUICK, "--json", tmp_path / "b.json")
    [one] = json.loads((tmp_path / "b.json").read_text())["candidates"]
    assert one["proof"].startswith("proof cpu.fp32.") and "passed" in one["proof"]
    assert one["proof"] in result.stdout and "no proof" not in result.output
    assert one["proven"] == {"tokens_equal": 1.0, "pictures_db": None}
    assert "100.000%" in result.stdout, "beside its speed"


def test_a_dry_run_lists_the_candidates(tiny: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.symlink_to(tiny)
    result = run("bench", tiny, other, "--backend", "cpu,auto", "--dry-run")
    assert result.exit_code == 0, result.output
    assert "saturated" in result.output and "in 8 round(s)" in result.output
    assert "1. bundle cpu fp32  (the others are held to it)" in result.output
    assert "4. other auto fp32" in result.output


def test_pytorch_on_a_gpu_is_listed_in_every_mode(tiny: Path) -> None:
    modes = ["--compile-mode", "default,max-autotune,default"]
    both = ["--torch", "--torch-compile", "--torch-device", "cuda"]
    result = run("bench", tiny, "--backend", "cpu", "--dry-run", *both, *modes)
    assert result.exit_code == 0, result.output
    listed = result.stdout[result.stdout.index("2. ") :]
    assert listed.splitlines() == [
        "2. bundle torch-cuda fp32",
        "3. bundle torch-compile-cuda default fp32",
        "4. bundle torch-compile-cuda max-autotune fp32",
    ]


def test_pytorch_on_a_gpu_that_is_not_there(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    result = run("bench", tiny, *QUICK, "--torch", "--torch-device", "cuda")
    assert result.exit_code == BackendUnavailable.exit_code, result.output
    assert "error: bundle torch-cuda fp32: PyTorch 2." in result.output
    assert "is one for the CPU" in result.output or "sees no GPU" in result.output


def test_pytorch_needs_no_library_for_video(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    absent = {"av", "matplotlib"}
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in absent else found(name)
    )
    assert run("bench", tiny, *QUICK, "--torch", "--dry-run").exit_code == 0
    absent.add("onnxscript")
    result = run("bench", tiny, *QUICK, "--torch", "--dry-run")
    assert result.exit_code == 4 and "This command needs onnxscript" in result.output


def test_doubts_about_the_clip_are_said(tiny: Path) -> None:
    clip = Path(__file__).resolve().parents[1] / "field" / "i_tff.mp4"
    result = run("bench", tiny, "--clip", clip, "--dry-run")
    assert result.exit_code == 0 and f"warning: {clip}: it is interlaced" in result.output


@pytest.mark.parametrize(
    "options, code, message",
    [
        (["--precision", "int8"], 3, "has no encoder graph in int8"),
        (["--backend", "gpu"], 2, "no backend 'gpu'"),
        (["--seconds", "0"], 2, "seconds is 0"),
        (["--paced", "-3"], 2, "paced is -3"),
        (["--seconds", "inf"], 2, "seconds is inf"),
        (["--fps", "inf"], 2, "fps is inf"),
        (["--checkpoint", "a.ckpt"], 2, "--checkpoint is for --torch"),
        (["--torch-device", "cuda"], 2, "--torch-device is for --torch and --torch-compile; add"),
        (["--torch-device", "npu", "--torch"], 2, "'npu' is not one of 'cpu', 'cuda'"),
        (["--torch-compile", "--compile-mode", "fast"], 2, "allowed: default, reduce-overhead, ma"),
        (["--torch-compile", "--compile-mode", ","], 2, "allowed: default, reduce-overhead, ma"),
        (
            ["--torch-compile", "--compile-mode", "reduce-overhead"],
            2,
            "is for torch.compile on the GPU: add --torch-compile --torch-device cuda",
        ),
        (
            ["--torch", "--torch-device", "cuda", "--compile-mode", "max-autotune,default"],
            2,
            "--compile-mode max-autotune,default is for torch.compile on the GPU",
        ),
        (["--clip", "gone.mp4"], 3, "gone.mp4"),
        (["--json", "no/such/folder/a.json"], 4, "does not exist"),
    ],
)
def test_what_cannot_be_measured(tiny: Path, options: list[str], code: int, message: str) -> None:
    result = run("bench", tiny, *options)
    assert (result.exit_code, message in result.output) == (code, True), result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    "end, code, says",
    [
        (CheckFailed("out of memory"), 1, "left out from round 2 of 2 on: out of memory"),
        (KeyboardInterrupt(), 130, "Interrupted after 1 of 2 rounds."),
    ],
)
def test_what_was_measured_before_a_failure_is_shown_and_written(
    tiny: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    end: BaseException,
    code: int,
    says: str,
) -> None:
    turns: list[Candidate] = []

    def run_two(candidate: Candidate, settings: Settings, tell: Any) -> Turn:
        turns.append(candidate)
        if len(turns) == 3:  # a trial, a turn, and this
            raise end
        return run_turn(candidate, settings, 0, tell)

    real = matrix.run_matrix
    monkeypatch.setattr(matrix, "run_matrix", lambda *a, **o: real(*a, run=run_two, **o))
    files = ["--json", tmp_path / "a.json", "--html", tmp_path / "a.html"]
    result = run("bench", tiny, *QUICK, "--rounds", 2, *files)
    assert result.exit_code == code and says in result.output
    assert "Latency of a latent" in result.output, "of the round that was complete"
    document = json.loads((tmp_path / "a.json").read_text())
    assert len(document["candidates"][0]["turns"]) == 1 and says in document["troubles"][0]
    assert says in (tmp_path / "a.html").read_text()
    last = result.output.strip().splitlines()[-1]
    assert last == "ended by SIGINT" or last.startswith("error: Not everything was measured")


def test_a_default_that_a_bundle_lacks_is_said(tiny: Path) -> None:
    manifest = json.loads((tiny / MANIFEST).read_text())
    int8 = [{**g, "precision": "int8", "placement": "tensorrt"} for g in manifest["graphs"]]
    manifest["graphs"] += int8
    (tiny / MANIFEST).write_text(json.dumps(manifest))
    result = run("bench", tiny, "--backend", "cpu", "--dry-run")
    assert result.exit_code == 0, result.output
    assert "bundle cpu int8 is left out: the bundle has no int8 graph" in result.output
    assert "1. bundle cpu fp32" in result.output and "2." not in result.output


def test_no_bundle(tmp_path: Path) -> None:
    result = run("bench", tmp_path)
    assert result.exit_code == 3 and "manifest.json" in result.output


@pytest.mark.slow
def test_a_page_is_drawn_from_what_was_written(tiny: Path, tmp_path: Path) -> None:
    files = ["--json", tmp_path / "a.json", "--html", tmp_path / "a.html"]
    measured = run("bench", tiny, *QUICK, *files)
    assert measured.exit_code == 0, measured.output
    shutil.rmtree(tiny)
    drawn = run("bench", "--from", tmp_path / "a.json", "--html", tmp_path / "b.html")
    assert drawn.exit_code == 0, drawn.output
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    tables = measured.output[measured.output.index("What was measured") :]
    assert tables.partition("\n" + str(tmp_path))[0] in drawn.output
    again = run("bench", "--from", tmp_path / "a.json", "--html", tmp_path / "b.html")
    assert again.exit_code == 2 and "exists already" in again.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--from a.json --html a.json", "a.json is read here"),
        ("--from a.json --html link.html", "link.html is read here"),
        ("bundle --json both --html both", "is named with --json and with --html"),
        ("bundle --json both --html ./here/both", "is named with --json and with --html"),
        ("bundle --clip a.mp4 --json a.mp4", "a.mp4 is read here"),
        ("bundle --torch --checkpoint a.pt --html a.pt", "a.pt is read here"),
    ],
)
def test_an_output_of_bench_replaces_neither_the_other_nor_what_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: str, message: str
) -> None:
    for name in ("a.json", "a.mp4", "a.pt"):
        (tmp_path / name).write_text("kept")
    (tmp_path / "link.html").symlink_to("a.json")
    (tmp_path / "here").symlink_to(".")
    monkeypatch.chdir(tmp_path)
    result = run("bench", *options.split(), "--force")
    assert (result.exit_code, message in result.output) == (2, True), result.output
    assert {path.read_text() for path in tmp_path.iterdir() if path.is_file()} == {"kept"}
    assert not (tmp_path / "both").exists()


@pytest.mark.parametrize(
    "options, code, message",
    [
        ([], 2, "Name a bundle to measure, or with --from"),
        (["--from", "gone.json"], 3, "gone.json cannot be read"),
        (["--from", "gone.json", "bundle"], 2, "a bundle is for measuring"),
        (["--from", "gone.json", "--paced", "30"], 2, "--paced is for measuring"),
        (["--from", "gone.json", "--json", "b.json"], 2, "--json is for measuring"),
    ],
)
def test_what_cannot_be_drawn(options: list[str], code: int, message: str) -> None:
    result = run("bench", *options)
    assert (result.exit_code, message in result.output) == (code, True), result.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--cameras", "2"], "--cameras counts deadlines, which --paced sets"),
        (["--cameras", "two", "--paced", "30"], "--cameras is two; use whole numbers"),
        (["--cameras", "2,3", "--paced", "30"], "has 3 streams; there are some with 2."),
    ],
)
def test_cameras_that_no_bundle_has(tiny: Path, options: list[str], message: str) -> None:
    result = run("bench", tiny, "--dry-run", *QUICK, *options)
    assert result.exit_code == 2 and message in result.output


def test_cameras_choose_among_the_bundles(tiny: Path) -> None:
    result = run("bench", tiny, "--dry-run", *QUICK, "--cameras", "2", "--paced", "30")
    assert result.exit_code == 0 and "1. bundle cpu fp32" in result.output


def test_what_a_plan_allows_stands_beside_what_was_followed(tiny: Path, tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    assert run("bench", tiny, *QUICK, "--paced", "200", "--json", file).exit_code in (0, 1)
    document = json.loads(file.read_text())
    [one], machine = document["candidates"], document["machine"]
    one |= {"variant": "vidtok_fsq_causal_488_32768", "backend": "tensorrt"}
    one |= {"height": 256, "width": 256}
    document["candidates"] = [one, {**one, "name": "many", "streams": 10_000}]
    document["histogram"], document["settings"]["pace"]["fps"] = None, 30.0
    for gpu, said in (
        ("NVIDIA H200, sm90, 143.8 GB", "`plan` allows at most 2 cameras on H200, a bound"),
        ("NVIDIA Other, sm90, 1.0 GB", "the table of `plan` has no such device"),
    ):
        machine["gpu"] = gpu
        file.write_text(json.dumps(document))
        result = run("bench", "--from", file)
        assert result.exit_code == 0 and said in result.output, result.output
        assert "most cameras" in result.output


def test_work_of_a_call_is_counted_where_it_can_be(tiny: Path, tmp_path: Path) -> None:
    """In the command, where PyTorch is; the runtime's rooms do without."""
    file = tmp_path / "a.json"
    result = run("bench", tiny, *QUICK, "--json", file)
    assert result.exit_code == 0, result.output
    plain = json.loads(file.read_text())
    assert plain["candidates"][0]["work"] == [], "nobody knows the model `tiny`"
    assert "Gop" not in result.output
    name = "vidtok_fsq_causal_488_32768"
    plain["candidates"][0] |= {"variant": name, "height": 64, "width": 64}
    file.write_text(json.dumps(plain))
    [one] = with_work(read_document(file)).candidates
    options = StepOptions(64, 64, streams=one.streams, form="conv2d")
    plan = plan_of(
        variant_by_name(name), options, fps=30.0, kinds=("encoder",), precisions=("fp32",)
    )
    [cost] = plan.costs["fp32"]
    assert one.work == (
        CallWork(kind="encoder", operations=2 * cost.multiply_adds, moved_bytes=cost.moved),
    )
    [ceilings] = with_ceilings(with_work(read_document(file))).ceilings
    assert ceilings.of_cpu and min(ceilings.copy_gbs, ceilings.fp32_tflops) > 0
    plain["candidates"][0]["precision"] = "int8"
    file.write_text(json.dumps(plain))
    document = with_work(read_document(file))
    assert document.candidates[0].work == ()
    assert with_ceilings(document).ceilings == (), "nothing is compared with them"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--queue", "drop-oldest"], "add --paced 30"),
        (["--capacity", "4"], "add --paced 30"),
        (["--paced", "30", "--capacity", "4"], "without limit"),
        (["--paced", "30", "--fps", "25"], "Leave one out"),
    ],
)
def test_options_that_would_be_ignored_are_refused(
    tiny: Path, options: list[str], said: str
) -> None:
    result = run("bench", tiny, "--dry-run", *options)
    assert result.exit_code == 2 and said in result.output
