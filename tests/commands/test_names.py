"""Names on the command line: an empty one, `-`, a folder; as variables of a shell make them."""

from __future__ import annotations

import errno
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from clips import make_clip
from tiny_bundle import write_tiny_bundle

from vidtok_edge.cli import main
from vidtok_edge.commands.options import OutputName, PathName
from vidtok_edge.runtime.recording import Recording
from vidtok_edge.runtime.session.parts_index import index_of

NAMES = {"sources", "view", "data", "output", "checkpoint"}  # that name something and are texts


def parameters() -> Iterator[tuple[str, click.Parameter]]:
    context = click.Context(main)
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        assert command is not None
        for parameter in command.params:
            text = parameter.name in NAMES and parameter.type is click.STRING
            if text or isinstance(parameter.type, click.Path):
                yield name, parameter


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def given(parameter: click.Parameter, value: str) -> list[str]:
    return [value] if isinstance(parameter, click.Argument) else [parameter.opts[0], value]


def test_every_name_of_a_file_is_one_that_may_not_be_empty() -> None:
    found = list(parameters())
    assert len(found) > 25
    for command, parameter in found:
        done = run(command, *given(parameter, ""))
        assert done.exit_code == 2, (command, parameter.name, done.output)
        assert "a name is empty" in done.output, (command, parameter.name, done.output)


def test_what_is_written_to_a_file_is_not_written_to_one_called_minus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outputs = [
        (command, parameter)
        for command, parameter in parameters()
        if isinstance(parameter.type, OutputName)
    ]
    assert {command for command, _ in outputs} >= {"record", "recover", "join", "export", "encode"}
    for command, parameter in parameters():
        writes = parameter.name in {"output", "picture", "json_file", "html_file", "json_path"}
        if writes and isinstance(parameter.type, PathName):
            done = run(command, *given(parameter, "-"))
            assert done.exit_code == 2 and "standard output here; name a place" in done.output
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("more", [[], ["--split-minutes", "1"], ["--force"]])
@pytest.mark.parametrize("output", [".", "..", "/", "inside", "inside/"])
def test_a_recording_is_not_written_in_place_of_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str, more: list[str]
) -> None:
    write_tiny_bundle(tmp_path / "bundle")
    folder = tmp_path / "here"
    (folder / "inside").mkdir(parents=True)
    monkeypatch.chdir(folder)
    done = run("record", "synthetic:30", "-b", tmp_path / "bundle", "-o", output, *more)
    assert done.exit_code == 2 and "is a folder. Name a file" in done.output, done.output
    assert [path.name for path in folder.rglob("*")] == ["inside"]
    assert not index_of(tmp_path / "here").exists()


@pytest.mark.parametrize("output", [".", "..", "/"])
def test_a_clip_side_by_side_is_not_written_in_place_of_a_folder(
    tmp_path: Path, output: str
) -> None:
    write_tiny_bundle(tmp_path / "bundle")
    done = run("reconstruct", tmp_path / "x.mp4", "-b", tmp_path / "bundle", "-o", output)
    assert done.exit_code == 2 and "is a folder. Name a file" in done.output, done.output


def test_a_name_that_is_too_long_is_told_as_what_cannot_be_written(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "bundle")
    frames = tmp_path / "frames"
    frames.mkdir()
    output = tmp_path / ("x" * 300)
    done = run("record", "synthetic:30", frames, "-b", tmp_path / "bundle", "-o", output)
    assert done.exit_code in (3, 4) and "VIDTOK_EDGE_DEBUG" not in done.output, done.output


def shell(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = f"{shlex.quote(sys.executable)} -m vidtok_edge.cli"
    script = line.replace("vidtok-edge", f"{command}")
    return subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True)


def test_a_program_whose_outputs_were_closed_before_it_began(tmp_path: Path) -> None:
    """As a service manager, or `2>&-`, does."""
    write_tiny_bundle(tmp_path / "bundle")
    record = "vidtok-edge record synthetic:30 -b bundle --duration 0.3"
    for number, closed in enumerate(("2>&-", ">&-", ">&- 2>&-", ">&- 2>&- <&-")):
        done = shell(f"{record} -o {number}.mcap {closed}", tmp_path)
        assert done.returncode == 0, (closed, done.stderr)
        with Recording.open(tmp_path / f"{number}.mcap") as recording:
            assert sum(1 for _ in recording.entries()) > 2
    for command in ("recover 0.mcap -o x.mcap", "export-recording 0.mcap --format npz -o set"):
        assert shell(f"vidtok-edge {command} >&- 2>&-", tmp_path).returncode == 0
    done = shell("vidtok-edge replay 0.mcap -b bundle -o - >&-", tmp_path)
    assert done.returncode == 4 and "There is no standard output" in done.stderr


def test_a_recording_has_no_source_whose_name_is_no_text(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "bundle")
    name = tmp_path / os.fsdecode(b"clip\xff.mp4")
    name.write_bytes(b"x")
    done = run("record", name, "-b", tmp_path / "bundle", "-o", tmp_path / "x.mcap")
    assert done.exit_code == 2 and "is no text in UTF-8" in done.output, done.output
    assert not (tmp_path / "x.mcap").exists()


def test_a_clip_may_have_a_name_that_is_no_text(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "bundle")
    name = tmp_path / os.fsdecode(b"clip\xff.mp4")
    os.rename(make_clip(tmp_path / "a.mp4", 9), name)
    done = run("encode", name, "-b", tmp_path / "bundle", "-o", tmp_path / "x.npz")
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    ("place", "arguments"),
    [
        ("vidtok_edge.runtime.clips.token_files._parts", ["decode", "x.npz", "-o", "x.mp4"]),
        ("vidtok_edge.runtime.session.parts_index.read_at_most", ["export-recording"]),
    ],
)
def test_a_file_that_may_not_be_read_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, arguments: list[str]
) -> None:
    def refused(*given: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(place, refused)
    monkeypatch.chdir(tmp_path)
    write_tiny_bundle(tmp_path / "bundle")
    (tmp_path / "x.index.json").write_text("{}")
    if arguments[0] == "decode":
        arguments = [*arguments, "-b", "bundle"]
    else:
        arguments = [*arguments, "x.index.json", "--format", "npz", "-o", "set"]
    done = run(*arguments)
    assert done.exit_code == 3, done.output
    assert "cannot be read: Permission denied. Check its permissions" in done.output
    assert "damaged" not in done.output and "--force" not in done.output
