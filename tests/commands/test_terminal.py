"""Names from other people's files never reach a terminal as commands to it."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import unicodedata
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from clips import make_clip
from hypothesis import given
from hypothesis import strategies as st

from vidtok_edge.cli import main
from vidtok_edge.commands.status_line import StatusLine, to_stderr
from vidtok_edge.commands.terminal import Styled, say, shown
from vidtok_edge.runtime.bundle import MANIFEST

pytestmark = pytest.mark.slow

COMMANDS = Path(__file__).resolve().parents[2] / "commands"
CLEARS, TITLE, C1, TURNS = "\x1b[2J", "\x1b]0;owned\x07", "\x9b31m", "\u202e\u2066"
HOSTILE = f"a{CLEARS}{TITLE}{C1}{TURNS}\r\x7f"
KINDS = {"Cc", "Cs", "Zl", "Zp"}
"""Of characters: controls, halves of pairs, ends of lines and of paragraphs."""
TURNING = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""What turns the order of letters round."""
NAMED = r"a\x1b[2J"
"""How HOSTILE begins when it is shown."""


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def assert_harmless(result: Result, code: int) -> None:
    """It says the name, written out, and nothing in it commands a terminal."""
    assert result.exit_code == code, result.output
    assert NAMED in result.output
    assert commands_in(result.output) == []


def commands_in(text: str) -> list[str]:
    controls = [c for c in text if c in TURNING or unicodedata.category(c) in KINDS]
    return [c for c in controls if c not in "\n\t"]


@given(st.text(st.characters(), max_size=50))
def test_no_command_is_left_in_any_text(text: str) -> None:
    assert commands_in(shown(text)) == []
    assert commands_in(shown(text, one_line=True)) == [] and "\n" not in shown(text, one_line=True)
    assert shown(shown(text)) == shown(text)


@given(st.text(st.characters(categories=["L", "N", "P", "S", "M", "Zs"])))
def test_what_is_harmless_stays_as_it_is(text: str) -> None:
    assert shown(f"{text}\n\t") == f"{text}\n\t"


def test_bytes_that_are_no_text_are_shown_as_bytes() -> None:
    assert shown(b"a\xff\x1b".decode(errors="surrogateescape")) == r"a\xff\x1b"
    assert shown("\ud800") == r"\ud800"


@pytest.mark.parametrize("err", [False, True])
def test_outputs_that_were_closed_before_take_nothing(
    monkeypatch: pytest.MonkeyPatch, err: bool
) -> None:
    def refused(*arguments: Any, **options: Any) -> None:
        raise AttributeError("'NoneType' object has no attribute 'write'")  # click before 8.1.4

    monkeypatch.setattr("sys.stderr" if err else "sys.stdout", None)
    monkeypatch.setattr("click.echo", refused)
    say("nobody reads it", err=err)
    if err:
        to_stderr("nobody reads it")


def test_a_style_is_around_what_is_safe() -> None:
    assert Styled.of(CLEARS, fg="red") == "\x1b[31m\\x1b[2J\x1b[0m"
    assert shown(Styled.of("ok", fg="red")) == "\x1b[31mok\x1b[0m"


def test_nothing_is_printed_past_it() -> None:
    printing = {"click.echo", "click.secho", "print", "sys.stdout.write", "sys.stderr.write"}
    allowed = {"terminal.py": {"click.echo", "sys.stderr.write"}, "status_line.py": {"click.echo"}}
    for path in COMMANDS.glob("*.py"):
        nodes = ast.walk(ast.parse(path.read_text()))
        calls = {ast.unparse(node.func) for node in nodes if isinstance(node, ast.Call)}
        assert calls & printing == allowed.get(path.name, set()), path.name


# --- through commands -----------------------------------------------------------------------------


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A clip of a hostile name."""
    path = tmp_path / f"{HOSTILE}.mp4"
    make_clip(tmp_path / "clip.mp4", 9, size=(16, 16))
    return (tmp_path / "clip.mp4").rename(path)


def test_encode(tiny: Path, clip: Path, tmp_path: Path) -> None:
    absent = clip.with_name(f"{HOSTILE}.absent.mp4")
    assert_harmless(run("encode", absent, "-b", tiny, "-o", tmp_path / "t.npz"), 3)
    assert_harmless(run("encode", clip, "-b", tiny, "-o", clip.with_suffix(".npz")), 0)


def test_decode(tiny: Path, clip: Path, tmp_path: Path) -> None:
    tokens = tmp_path / "t.npz"
    assert run("encode", clip, "-b", tiny, "-o", tokens).exit_code == 0
    with np.load(tokens) as arrays:
        parts = dict(arrays)
    meta = json.loads(str(parts["meta"])) | {"variant": HOSTILE}
    np.savez(tokens, **(parts | {"meta": np.array(json.dumps(meta))}))
    assert_harmless(run("decode", tokens, "-b", tiny, "-o", tmp_path / "o.mp4"), 3)


def test_verify_and_bench(tiny: Path, tmp_path: Path) -> None:
    manifest = json.loads((tiny / MANIFEST).read_text())
    manifest["model"]["variant"] = HOSTILE
    (tiny / MANIFEST).write_text(json.dumps(manifest))
    assert_harmless(run("verify", tiny), 2)
    hostile = tmp_path / HOSTILE
    shutil.copytree(tiny, hostile)
    assert_harmless(run("bench", hostile, "--backend", "cpu", "--dry-run"), 0)
    (hostile / MANIFEST).unlink()
    assert_harmless(run("bench", hostile), 3)


def test_record_and_what_reads_recordings(tiny: Path, clip: Path, tmp_path: Path) -> None:
    path = clip.with_suffix(".mcap")
    assert_harmless(run("record", clip, "-b", tiny, "-o", path), 0)
    assert_harmless(run("record", clip, "-b", tiny, "-o", path, "--dry-run", "--force"), 0)
    assert_harmless(run("replay", path, "-b", tiny, "-o", clip.with_suffix(".mkv")), 0)
    assert_harmless(run("recover", path, "-o", clip.with_suffix(".whole.mcap")), 0)
    folder = clip.with_suffix(".folder")
    assert_harmless(run("export-recording", path, "-o", folder, "--format", "npz"), 0)
    assert_harmless(run("replay", path, "-b", tiny, "-o", "-", "--source", "9"), 3)


def test_export(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="reads a checkpoint")
    checkpoint = tmp_path / "weights.pt"
    torch.save({f"{HOSTILE}{n}": torch.zeros(1) for n in range(3)}, checkpoint)
    output = tmp_path / "bundle"
    result = run("export", "--variant", "fsq", "--checkpoint", checkpoint, "-o", output)
    assert_harmless(result, 3)


@pytest.mark.parametrize(
    "arguments", [[HOSTILE], ["variants", HOSTILE], [f"--{HOSTILE}"], ["encode", f"--{HOSTILE}"]]
)
def test_commands_that_are_wrong(arguments: list[str]) -> None:
    assert_harmless(run(*arguments), 2)


def test_a_status_line() -> None:
    texts: list[str] = []
    with StatusLine(texts.append, terminal=True) as line:
        line.show(f"{HOSTILE}\n")
        line.note(f"{HOSTILE} is lost")
    text = re.sub(r"\r\x1b\[K", "", "".join(texts))
    assert NAMED in text and commands_in(text) == []


def test_lines_that_are_written_over_fit_a_narrow_terminal() -> None:
    """One that is broken leaves its first half behind each time."""
    pty, fcntl, termios = (pytest.importorskip(name) for name in ("pty", "fcntl", "termios"))
    code = """
from vidtok_edge.commands.printing import frame_bar
from vidtok_edge.commands.status_line import StatusLine, to_stderr
with frame_bar("exporting, latents") as progress:
    progress(4321, 54321)
with StatusLine(to_stderr, True) as line:
    line.show("status " * 20)
    while not line._shown:
        pass
"""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 50, 0, 0))
    done = subprocess.run([sys.executable, "-c", code], stderr=theirs, check=False)
    os.close(theirs)
    pieces = []
    with suppress(OSError):  # EIO where nothing more comes
        while piece := os.read(ours, 1 << 16):
            pieces.append(piece)
    os.close(ours)
    written = b"".join(pieces).decode()
    assert done.returncode == 0, written
    lines = re.split(r"[\r\n]+", re.sub(r"\x1b\[[?0-9]*[A-Za-z]", "", written))
    assert any("4321/54321" in line for line in lines)
    assert any(line.startswith("status") for line in lines)
    assert max(map(len, lines)) < 50
