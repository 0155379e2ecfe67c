"""Who is measured when, by whom, and what becomes of errors in another process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from vidtok_edge.errors import (
    BundleError,
    BundleMissing,
    CheckFailed,
    EngineMissing,
    UsageError,
    VidTokEdgeError,
)
from vidtok_edge.runtime.backends.gpu import Gpu
from vidtok_edge.runtime.bench.document_file import json_of, read_document, write_document
from vidtok_edge.runtime.bench.measuring.candidate import Candidate, candidates_of
from vidtok_edge.runtime.bench.measuring.documents import document_of
from vidtok_edge.runtime.bench.measuring.figures import figures_of
from vidtok_edge.runtime.bench.measuring.matrix import Benchmark, order_of, run_matrix
from vidtok_edge.runtime.bench.measuring.turn import Turn, run_turn
from vidtok_edge.runtime.bench.measuring.worker import run_in_process
from vidtok_edge.runtime.bench.meters.sampling import Sampler
from vidtok_edge.runtime.bench.sample import Sample
from vidtok_edge.runtime.bench.settings import Pace, Settings
from vidtok_edge.runtime.bench.showing.page import page_of
from vidtok_edge.runtime.bench.showing.tables import tables_of
from vidtok_edge.runtime.bundle import MANIFEST, Bundle
from vidtok_edge.runtime.manifest.graphs import Placement

QUICK = Settings(Pace(200.0), seconds=0.3, warmup_s=0.05, decode=True)


def in_this_process(
    candidate: Candidate, settings: Settings, progress: Callable[[float], None]
) -> Turn:
    return run_turn(candidate, settings, 0, progress)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_nobody_is_always_first_nor_after_the_same_neighbour(count: int) -> None:
    orders = [order_of(count, number) for number in range(2 * count)]
    assert all(sorted(order) == list(range(count)) for order in orders)
    places = [sorted(order.index(who) for order in orders) for who in range(count)]
    assert all(p == places[0] for p in places), "over 2n rounds everyone was everywhere"


def test_a_turn_in_a_process_of_its_own(tiny: Path) -> None:
    told: list[float] = []
    turn = run_in_process(candidates_of([tiny], ["cpu"])[0], QUICK, told.append)
    measured = turn.measured
    assert turn.backend.startswith("cpu on onnxruntime") and turn.fell_back == ""
    assert [(g.name, g.form) for g in turn.graphs] == [
        ("encoder.fp32", "conv2d"),
        ("decoder.fp32", "conv2d"),
    ]
    assert [len(slot) for slot in measured.latency_ns] == [15, 15], "60 frames of each slot"
    # On a busy machine frames wait since the warm-up, or are late at the end.
    assert measured.frames >= 120 - measured.unfinished
    assert turn.start_up.process_ms > 20, "an interpreter was started"
    assert turn.start_up.total_ms < 60_000 and turn.start_up.first_token_ms > 0
    assert measured.peak_rss_mb is None or 10 < measured.peak_rss_mb < 1000
    assert told == sorted(told)


def test_the_peak_of_device_memory_is_of_the_whole_turn(tiny: Path) -> None:
    """Loading an engine takes more than running it, and is over when measuring begins."""

    class EarlyPeak(Sampler):
        def __enter__(self) -> Sampler:
            self.samples.append(Sample(time_s=time.monotonic(), device_mb=900.0))
            return super().__enter__()

    settings = replace(QUICK, meters=False)
    turn = run_turn(Candidate(str(tiny), "cpu", "fp32"), settings, 0, open_sampler=EarlyPeak)
    assert turn.peak_device_mb == 900.0 and turn.samples == []


def value_of(key: str, turn: dict[str, Any]) -> float:
    """What a ratio compares, from the raw values of a document."""
    if key == "busy_us":
        return float(turn["busy_us"] / turn["frames"])
    return float(median(us for slot in turn["latency_us"] for us in slot))


def test_several_candidates_in_turn(tiny: Path) -> None:
    ran: list[str] = []

    def run(candidate: Candidate, settings: Settings, progress: Callable[[float], None]) -> Turn:
        ran.append(f"{candidate.threads} {settings.seconds / settings.rounds:g}")
        return in_this_process(candidate, settings, progress)

    candidates = [Candidate(str(tiny), "cpu", "fp32", threads) for threads in (1, 2)]
    settings = Settings(Pace(None), seconds=0.2, warmup_s=0.0, rounds=5, meters=False)
    told: list[float] = []
    done = run_matrix(
        candidates, settings, run=run, progress=lambda share, what: told.append(share)
    )
    trial, turns = ran[:2], ran[2:]
    assert trial == ["1 0.001", "2 0.001"]
    assert turns == [f"{n} 0.04" for n in (1, 2, 2, 1, 2, 1, 1, 2, 1, 2)]
    assert told == sorted(told) and told[-1] == 1.0
    assert [len(entry.turns) for entry in done.entries] == [5, 5]

    shown_of = document_of(done)
    document = json.loads(json_of(shown_of))
    assert (document["format"], document["schema"]) == ("vidtok-edge-bench", 2)
    one = document["candidates"][1]
    assert (one["streams"], one["chunk"], one["threads"], one["toolkit"]) == (2, 1, 2, "0")
    assert one["weights"] == {"source": "random", "location": "", "sha256": ""}
    graph = Bundle.load(tiny).manifest.graph("encoder")
    assert one["graphs"] == [
        {
            "name": "encoder.fp32",
            "form": "conv2d",
            "sha256": graph.sha256,
            "data_sha256": graph.data_sha256,
        },
    ]
    for key, ratio in zip(("latency_us", "busy_us"), document["ratios"], strict=True):
        first, second = (c["turns"] for c in document["candidates"])
        again = [value_of(key, a) / value_of(key, b) for a, b in zip(first, second, strict=True)]
        assert ratio["median"] == pytest.approx(median(again), rel=0.1), "up to whole microseconds"
    raw = [us for turn in one["turns"] for slot in turn["latency_us"] for us in slot]
    figures = figures_of(done.entries[1], settings)
    assert len(raw) == figures.latency.n == one["figures"]["latency"]["n"] > 10
    assert max(raw) / 1e3 == pytest.approx(figures.latency.max_ms, abs=1e-3)
    assert [r["verdict"] for r in document["ratios"]] == ["too few rounds (7 needed)"] * 2

    tables = {table.title: table for table in tables_of(shown_of)}
    assert {
        "What was measured",
        "Latency of a latent",
        "Speed and backlog",
        "Start-up",
        "Where the time of a call goes",
        "The machine meanwhile",
    } <= set(tables)
    for table in tables.values():
        assert {len(row) for row in table.rows} == {len(table.rows[0])}
    shown = tables["What was measured"].rows[1]
    assert shown[2:8] == ("tiny", "16x16", "2", "1", "fp32", "conv2d")
    assert shown[1].startswith("cpu on onnxruntime") and shown[9] == "0, not verified"
    [_, _, device, *_] = tables["Where the time of a call goes"].rows[1][2:]
    assert tables["Where the time of a call goes"].rows[1][3] == "-" != device, "no copies here"
    [_, first, second] = tables["Latency of a latent"].rows
    assert first[0].endswith("cpu fp32 1 thread(s)") and second[1] == str(len(raw))
    if len(raw) < 2995:
        assert second[6] == "-", "p99.9 of so few is not known"


def benchmark_of(
    tiny: Path, ends: dict[tuple[int, int], BaseException], rounds: int = 3
) -> Benchmark:
    """Two candidates, where turn n of the one with t threads ends with `ends[t, n]`."""
    turns = Counter[int]()

    def run(candidate: Candidate, settings: Settings, progress: Callable[[float], None]) -> Turn:
        if settings.rounds > 1:  # no trial
            threads = candidate.threads or 0
            turns[threads] += 1
            if (threads, turns[threads]) in ends:
                raise ends[threads, turns[threads]]
        return in_this_process(candidate, settings, progress)

    candidates = [Candidate(str(tiny), "cpu", "fp32", threads) for threads in (1, 2)]
    settings = Settings(Pace(None), seconds=0.03, warmup_s=0.0, rounds=rounds, meters=False)
    return run_matrix(candidates, settings, run=run)


def test_a_candidate_that_fails_is_left_out_and_the_others_go_on(tiny: Path) -> None:
    done = benchmark_of(tiny, {(2, 2): CheckFailed("out of memory")})
    assert [len(entry.turns) for entry in done.entries] == [3, 1]
    assert done.troubles == [
        "bundle cpu fp32 2 thread(s) is left out from round 2 of 3 on: out of memory"
    ]
    document = document_of(done)
    assert document.troubles == tuple(done.troubles) and document.ratios[0].rounds == 1
    assert "out of memory" in page_of(document) and not done.interrupted


def test_what_fails_in_the_first_round_is_only_mentioned(tiny: Path) -> None:
    done = benchmark_of(tiny, {(1, 1): CheckFailed("no luck")})
    assert [entry.candidate.threads for entry in done.entries] == [2] and len(done.troubles) == 1
    both: dict[tuple[int, int], BaseException] = {(n, 1): CheckFailed(f"{n}") for n in (1, 2)}
    with pytest.raises(CheckFailed, match="1"):
        benchmark_of(tiny, both)


def test_after_an_interrupt_complete_rounds_count(tiny: Path) -> None:
    done = benchmark_of(tiny, {(1, 2): KeyboardInterrupt()})  # in round 2, after the other's turn
    assert [len(entry.turns) for entry in done.entries] == [1, 1] and done.interrupted
    assert done.troubles == ["Interrupted after 1 of 3 rounds."]
    with pytest.raises(KeyboardInterrupt):
        benchmark_of(tiny, {(2, 1): KeyboardInterrupt()})


def test_the_document_is_written_whole(tiny: Path, tmp_path: Path) -> None:
    settings = Settings(Pace(None), seconds=0.02, warmup_s=0, meters=False)
    done = run_matrix(candidates_of([tiny]), settings, run=in_this_process)
    document = document_of(done)
    write_document(document, tmp_path / "bench.json")
    assert json.loads((tmp_path / "bench.json").read_text())["settings"]["seconds"] == 0.02
    assert read_document(tmp_path / "bench.json") == document


def test_candidates_are_every_combination(tiny: Path) -> None:
    found = candidates_of([tiny], ["cpu", "auto"], ["fp32"], 2)
    assert [str(c) for c in found] == [
        "bundle cpu fp32 2 thread(s)",
        "bundle auto fp32 2 thread(s)",
    ]
    with pytest.raises(BundleError, match="has no encoder graph in int8"):
        candidates_of([tiny], ["cpu"], ["int8"])
    with pytest.raises(UsageError, match="no backend 'gpu'; use auto, onnxruntime, cpu"):
        candidates_of([tiny], ["gpu"])
    with pytest.raises(UsageError, match="Two bundles are called bundle"):
        candidates_of([tiny, tiny])
    with pytest.raises(UsageError, match="nothing to measure"):
        run_matrix([], QUICK)


def with_int8_engines(folder: Path) -> Path:
    """`folder`, whose manifest has INT8 graphs for TensorRT alone."""
    manifest = Bundle.load(folder).manifest
    int8 = [replace(g, precision="int8", placement=Placement.TENSORRT) for g in manifest.graphs]
    manifest = replace(manifest, graphs=(*manifest.graphs, *int8))
    (folder / MANIFEST).write_text(manifest.to_json())
    return folder


def test_combinations_that_nobody_named_may_be_absent(tiny: Path) -> None:
    folder, left_out = with_int8_engines(tiny), list[Candidate]()
    found = candidates_of([folder], ["cpu", "tensorrt"], left_out=left_out.append)
    assert [(c.backend, c.precision) for c in found] == [
        ("cpu", "fp32"),
        ("tensorrt", "fp32"),
        ("tensorrt", "int8"),
    ]
    assert [str(c) for c in left_out] == ["bundle cpu int8"]
    with pytest.raises(BundleError, match="no encoder graph in int8"):
        candidates_of([folder], ["cpu", "tensorrt"], ["fp32", "int8"])
    for gpu, precisions in ((None, ["fp32"]), (Gpu("Orin", "sm87", 1 << 33), ["fp32", "int8"])):
        auto = candidates_of([folder], gpu_of=lambda gpu=gpu: gpu)  # type: ignore[misc]
        assert [c.precision for c in auto] == precisions


def test_forms_are_named_after_their_bundles_too(tiny: Path, tmp_path: Path) -> None:
    forms = [tmp_path / name / "forms/conv3d" for name in ("x", "y")]
    for form in forms:
        shutil.copytree(tiny, form)
    found = candidates_of([tiny, *forms], ["cpu"])
    assert [c.bundle_name for c in found] == ["bundle", "x/conv3d", "y/conv3d"]
    assert str(found[1]) == "x/conv3d cpu fp32"


def test_errors_of_ours_come_back_as_themselves(tmp_path: Path, tiny: Path) -> None:
    with pytest.raises(BundleMissing, match=r"gone cpu fp32: .*is not a folder"):
        run_in_process(Candidate(str(tmp_path / "gone"), "cpu", "fp32"), QUICK)
    with pytest.raises(VidTokEdgeError) as caught:  # no GPU here, or no engine
        run_in_process(Candidate(str(tiny), "tensorrt", "fp32"), QUICK)
    assert caught.value.exit_code == 4 or isinstance(caught.value, EngineMissing)


def test_a_process_that_dies_is_reported(tiny: Path) -> None:
    with pytest.raises(CheckFailed, match="ended with code 1 and no result"):
        run_in_process(Candidate(str(tiny), "cpu", "fp32", opener="os:no_such_name"), QUICK)


def test_a_process_that_is_killed_while_it_answers_is_reported(tiny: Path) -> None:
    killed = 'import os; os.write(1, b\'{"turn": {"star\'); os.kill(os.getpid(), 9)'
    with pytest.raises(CheckFailed, match="ended with code -9 and no result"):
        run_in_process(Candidate(str(tiny), "cpu", "fp32"), QUICK, program=killed)


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"seconds": 0.0}, "seconds is 0"),
        ({"warmup_s": -1.0}, "warmup is -1"),
        ({"deadline_ms": 0.0}, "deadline is 0"),
        ({"pace": Pace(0.0)}, "paced is 0"),
        ({"pace": Pace(30.0, "drop-oldest", 0)}, "capacity is 0"),
        ({"rounds": 0}, "rounds is 0"),
        ({"seconds": float("nan")}, "seconds is nan"),
        ({"seconds": float("inf")}, "seconds is inf; use more than 0, and at most"),
        ({"deadline_ms": float("inf")}, "deadline is inf"),
        ({"warmup_s": float("nan")}, "warmup is nan; use 0 to"),
        ({"pace": Pace(float("inf"))}, "paced is inf"),
        ({"camera_fps": float("inf")}, "fps is inf"),
    ],
)
def test_settings_that_make_no_sense(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Settings(**{"pace": Pace(30.0), **wrong})  # type: ignore[arg-type]


def test_synthetic_frames_need_neither_torch_nor_onnx_nor_av(tiny: Path, tmp_path: Path) -> None:
    """In the process of the turn too, which an empty `sys.modules` would not reach."""
    absent = tmp_path / "absent"
    absent.mkdir()
    hidden = "torch onnx onnx_ir onnxscript av PIL safetensors matplotlib psutil"
    for name in hidden.split():
        (absent / f"{name}.py").write_text(f"raise ImportError('{name} is blocked')")
    path = os.pathsep.join([str(absent), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "vidtok_edge.cli", "bench", str(tiny), "--paced", "200"]
    command += ["--seconds", "0.2", "--warmup", "0", "--decode", "--backend", "cpu"]
    command += ["--json", str(tmp_path / "bench.json"), "--html", str(tmp_path / "bench.html")]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "bundle cpu fp32" in done.stdout and "Latency of a latent" in done.stdout
    assert "they need psutil" in done.stdout and "host peak MB" in done.stdout
    document = json.loads((tmp_path / "bench.json").read_text())
    assert document["candidates"][0]["figures"]["latency"]["n"] == 20, "ten of each slot"
    page = (tmp_path / "bench.html").read_text()
    assert "No pictures: Showing reconstructions needs pillow" in page
