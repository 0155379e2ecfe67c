"""Whatever ends a command becomes a line and an exit code, and a fault of ours looks like one."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import zstandard
from click.testing import CliRunner, Result
from clips import make_clip
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.capi.onnxruntime_pybind11_state import Fail

from vidtok_edge.cli import export_main, main
from vidtok_edge.hashes import sha256_of
from vidtok_edge.runtime import doctor
from vidtok_edge.runtime.bundle import MANIFEST

pytestmark = pytest.mark.slow

PROGRAM = [sys.executable, "-m", "vidtok_edge.cli"]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def program(
    *arguments: object, stdout: int | None = subprocess.PIPE, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *map(str, arguments)],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        env=os.environ | environment,
    )


def raising(error: BaseException) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


def nested() -> None:
    json.loads("[" * 200_000)


def too_large() -> None:
    np.zeros(1 << 50)


def not_zstandard() -> None:
    zstandard.ZstdDecompressor().decompress(b"not compressed")


@pytest.mark.parametrize(
    "fails, code, says",
    [
        (raising(MemoryError()), 4, "not enough memory"),
        (too_large, 4, "Unable to allocate"),
        (raising(RuntimeError("CUDA error: out of memory")), 4, "not enough memory"),
        (raising(OSError(errno.ENOMEM, "Cannot allocate memory")), 4, "not enough memory"),
        (raising(OSError(errno.ENOSPC, "No space left", "a")), 4, "No space left: a. Free some"),
        (raising(PermissionError(errno.EACCES, "Denied", "a")), 4, "Denied: a. Change the perm"),
        (raising(OSError(errno.EIO, "Input/output error")), 4, "Input/output error."),
        (raising(FileNotFoundError(errno.ENOENT, "No file", "a")), 3, "No file: a."),
        (raising(IsADirectoryError(errno.EISDIR, "A folder", b"a")), 3, "A folder: a."),
        (raising(BrokenPipeError()), 4, "what reads the output has ended"),
        (nested, 3, "nested too deeply"),
        (raising(UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad")), 3, "is no text"),
        (not_zstandard, 3, "zstandard cannot read this: ZstdError"),
        (raising(json.JSONDecodeError("no", "x", 0)), 3, "json cannot read this"),
        (raising(Fail("a bad\noperator")), 4, "onnxruntime failed: Fail: a bad operator"),
        (raising(subprocess.TimeoutExpired("nvcc", 5)), 4, "subprocess failed"),
    ],
)
def test_what_nobody_expected_is_one_line(
    monkeypatch: pytest.MonkeyPatch, fails: Callable[[], None], code: int, says: str
) -> None:
    monkeypatch.setattr(doctor, "examine", fails)
    result = run("doctor")
    assert (result.exit_code, says in result.output) == (code, True), result.output
    assert result.output.startswith("error: ") and result.output.count("\n") == 1


@pytest.mark.parametrize(
    "error", [AssertionError("lost count"), TypeError(), KeyError("a"), ValueError("odd")]
)
def test_a_fault_of_ours_is_called_one_and_shows_where(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(doctor, "examine", raising(error))
    result = run("doctor")
    assert result.exit_code == 70
    *trace, last = result.output.splitlines()
    assert last.startswith("error: this is a fault in vidtok-edge") and "Please report" in last
    assert type(error).__name__ in last and trace[0].startswith("Traceback")
    assert any("commands/doctor.py" in line for line in trace)


def test_the_switch_shows_where(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for value, shows in (("1", True), ("0", False), ("", False)):
        monkeypatch.setenv("VIDTOK_EDGE_DEBUG", value)
        result = run("verify", tmp_path / "absent")
        assert result.exit_code == 3 and ("Traceback" in result.output) is shows
        assert result.output.splitlines()[-1].startswith("error: ")


def test_the_program_of_one_command_has_the_net_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidtok_edge.commands.export.need_export", raising(MemoryError()))
    result = CliRunner().invoke(export_main, ["--variant", "fsq"])
    assert result.exit_code == 4 and "not enough memory" in result.output


@pytest.mark.parametrize("arguments", [["variants"], ["--help"], ["encode", "--help"]])
def test_a_full_disk_behind_standard_output(arguments: list[str]) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        done = program(*arguments, stdout=full)
    finally:
        os.close(full)
    assert done.returncode == 4, done.stderr
    assert "No space left on device" in done.stderr and done.stderr.count("\n") == 1


def test_a_reader_that_is_gone() -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        done = program("variants", stdout=write)
    finally:
        os.close(write)
    assert done.returncode == 4 and "what reads it has ended" in done.stderr
    assert done.stderr.count("\n") == 1


def test_what_ended_a_stage_is_said_though_nobody_reads_the_stage() -> None:
    """As after SIGHUP, when the terminal is gone."""
    code = (
        "import os, click\n"
        "from vidtok_edge.commands.net import Command\n"
        "from vidtok_edge.commands.printing import stage\n"
        "@click.command(cls=Command)\n"
        "def work():\n"
        "    with stage('weights', None):\n"
        "        os.dup2(os.open('/dev/full', os.O_WRONLY), 1)\n"
        "        raise KeyboardInterrupt\n"
        "work()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "ended by SIGINT\n")


def test_standard_error_that_takes_nothing_stops_nothing(tiny: Path, tmp_path: Path) -> None:
    make_clip(tmp_path / "clip.mp4", 5, size=(16, 16))
    with open("/dev/full", "w") as full:
        arguments = ["encode", tmp_path / "clip.mp4", "-b", tiny, "-o", tmp_path / "t.npz"]
        done = subprocess.run([*PROGRAM, *map(str, arguments)], stderr=full, check=False)
        assert done.returncode == 0 and (tmp_path / "t.npz").is_file()
        done = subprocess.run([*PROGRAM, "verify", "/absent"], stderr=full, check=False)
        assert done.returncode == 3


# --- graphs whose call fails --------------------------------------------------------------------


def break_encoder(bundle: Path, *, memory: bool) -> None:
    """An encoder that loads; its call makes 100 values of 2, or asks for 4 TB."""
    file = bundle / "encoder.fp32.onnx"
    model = onnx.load(file)
    graph, last = model.graph, "full"
    number = numpy_helper.from_array(np.array([1 << 40 if memory else 100], np.int64), "far")
    graph.initializer.append(number)
    nodes = [
        helper.make_node("Cast", ["start"], ["begun"], to=TensorProto.INT64),
        helper.make_node("ReduceSum", ["begun"], ["least"], keepdims=0),
        helper.make_node("Add", ["least", "far"], ["place"]),
        helper.make_node("Expand", ["now", "place"], ["wide_now"])
        if memory
        else helper.make_node("Reshape", ["now", "place"], ["wide_now"]),
        helper.make_node("ReduceSum", ["wide_now"], ["far_sum"], keepdims=0),
        helper.make_node("Add", [last, "far_sum"], ["broken"]),
    ]
    casts = [node for node in graph.node if last in node.input]
    for node in casts:
        graph.node.remove(node)
        node.input[0] = "broken"
    graph.node.extend([*nodes, *casts])
    onnx.save(model, file)
    manifest = json.loads((bundle / MANIFEST).read_text())
    manifest["graphs"][0]["sha256"] = sha256_of(file)
    (bundle / MANIFEST).write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    "memory, code, says",
    [(False, 3, "encoder.fp32.onnx fails on cpu: "), (True, 4, "not enough memory (encoder.fp32")],
)
def test_a_graph_whose_call_fails(
    tiny: Path, tmp_path: Path, memory: bool, code: int, says: str
) -> None:
    break_encoder(tiny, memory=memory)
    make_clip(tmp_path / "clip.mp4", 5, size=(16, 16))
    done = program("encode", tmp_path / "clip.mp4", "-b", tiny, "-o", tmp_path / "t.npz")
    assert (done.returncode, says in done.stderr) == (code, True), done.stderr
    warning, bar, last = done.stderr.splitlines()  # nothing of the library's own log
    assert warning.startswith("warning: ") and bar == "encoding" and last.startswith("error: ")
    assert not (tmp_path / "t.npz").exists()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
