"""`recover`, `replay` and `export-recording` as commands: exit codes and what is printed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from recordings import FSQ, record
from stamps import span, stamp

from vidtok_edge.cli import main
from vidtok_edge.runtime.bundle import Bundle
from vidtok_edge.runtime.recording import RecordingWriter, Tokenizer
from vidtok_edge.runtime.recording.format.reader import Recording
from vidtok_edge.runtime.streaming.latents import Latents
from vidtok_edge.runtime.streaming.records import SourceRecords


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_recover_has_an_exit_code_for_each_outcome(tmp_path: Path) -> None:
    whole, output = record(tmp_path / "a.mcap"), tmp_path / "out.mcap"
    done = run("recover", whole, "-o", output)
    assert done.exit_code == 0 and "60 latents, 3.0 s" in done.output
    cut = tmp_path / "cut.mcap"
    cut.write_bytes(whole.read_bytes()[:9000])
    assert run("recover", cut, "-o", output).exit_code == 2  # it is there
    lossy = run("recover", cut, "-o", output, "--force")
    assert lossy.exit_code == 1 and "its end is missing" in lossy.output
    assert "something of" in lossy.output
    cut.write_bytes(b"\x89MCAP0\r\n")
    nothing = run("recover", cut, "-o", tmp_path / "none.mcap")
    assert nothing.exit_code == 3 and not (tmp_path / "none.mcap").exists()


def tiny_recording(bundle: Path, path: Path, *, flush: bool = False) -> Path:
    tokenizer = Tokenizer.of(Bundle.load(bundle))
    camera = SourceRecords(0)
    with RecordingWriter(path, tokenizer, ["cam"]) as writer:
        writer.take(camera.start("start", 0, 0, fps=30))
        if flush:
            writer.flush()
        for i in range(5):
            tokens = np.full((1, 2, 2), i, np.int32)
            share, taken = tokenizer.framing.share(i), stamp(i * 133_333_333)
            latents = Latents(
                slot=0,
                index=i,
                tokens=tokens,
                mean=None,
                logvar=None,
                spans=(span(share.start, len(share), taken),),
            )
            for one in camera.encoded(latents, encode_start_ns=0, encode_end_ns=0):
                writer.take(one)
            if flush:
                writer.flush()
    return path


def test_replay_to_look_at(tiny: Path, tmp_path: Path) -> None:
    pytest.importorskip("rerun.chunk", reason="Rerun 0.41 reads files; older ones only write them")
    from rrd_files import rows_of

    path = tiny_recording(tiny, tmp_path / "a.mcap")
    done = run("replay", path, "--bundle", tiny, "--view", tmp_path / "a.rrd")
    assert done.exit_code == 0 and "17 frames at 30 fps" in done.output, done.output
    rows = rows_of(tmp_path / "a.rrd")
    assert {place: len(found) for place, found in rows.items()} == {
        "/camera0/reconstruction": 17,
        "/camera0/tokens": 5,
        "/camera0/latency_ms": 5,
        "/camera0/events": 1,
    }
    again = run("replay", path, "--bundle", tiny, "--view", tmp_path / "a.rrd")
    assert again.exit_code == 2 and "--force" in again.output
    neither = run("replay", path, "--bundle", tiny)
    assert neither.exit_code == 2 and "--output PATH, or --view" in neither.output


def test_replay_writes_raw_frames_or_a_clip(tiny: Path, tmp_path: Path) -> None:
    path = tiny_recording(tiny, tmp_path / "a.mcap")
    raw = run("replay", path, "--bundle", tiny, "-o", "-")
    assert raw.exit_code == 0, raw.output
    assert len(raw.stdout_bytes) == 17 * 16 * 16 * 3
    assert "17 frames at 30 fps" in raw.stderr
    clip = run("replay", path, "--bundle", tiny, "-o", tmp_path / "a.mp4", "--start", 0.2)
    assert clip.exit_code == 0 and "frames at 30 fps, 1 streams" in clip.output
    assert (tmp_path / "a.mp4").stat().st_size


@pytest.mark.parametrize("option", ["--start", "--end", "--fps"])
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_replay_refuses_what_is_no_number(
    tiny: Path, tmp_path: Path, option: str, value: str
) -> None:
    path = tiny_recording(tiny, tmp_path / "a.mcap")
    done = run("replay", path, "--bundle", tiny, "-o", "-", option, value)
    assert done.exit_code == 2 and "allowed" in done.stderr and not done.stdout_bytes
    for fps in (0, -5):
        assert run("replay", path, "-b", tiny, "-o", "-", "--fps", fps).exit_code == 2


def test_replay_warns_of_missing_latents(tmp_path: Path, tiny: Path) -> None:
    path = tiny_recording(tiny, tmp_path / "a.mcap", flush=True)
    data = bytearray(path.read_bytes())
    with Recording.open(path) as recording:
        offset = recording.chunks[3].offset  # latent 2
    data[offset + 60] ^= 1
    path.write_bytes(data)
    done = run("replay", path, "--bundle", tiny, "-o", "-")
    assert done.exit_code == 0
    assert "latents are missing in 1 places" in done.stderr and "recover" in done.stderr
    assert "the end of the source is missing" in done.stderr
    export = run("export-recording", path, "-o", tmp_path / "out", "--format", "npz")
    assert export.exit_code == 0 and "latents are missing in 1 places" in export.stderr


def test_replay_refuses_another_tokenizer(tiny: Path, tmp_path: Path) -> None:
    done = run("replay", record(tmp_path / "a.mcap", 3), "-b", tiny, "-o", "-")
    assert done.exit_code == 3
    assert f"written by fsq, weights {FSQ.weights_sha256[:12]}" in done.stderr
    assert "the bundle is tiny" in done.stderr


@pytest.mark.parametrize("format", ["npz", "webdataset", "lerobot"])
def test_export_recording_says_what_it_wrote(tmp_path: Path, format: str) -> None:
    path = record(tmp_path / "a.mcap", 6)
    done = run("export-recording", path, "-o", tmp_path / "out", "--format", format)
    assert done.exit_code == 0 and "12 latents in 2 episodes" in done.output
    assert "warning" not in done.stderr
    assert run("export-recording", path, "-o", tmp_path / "out", "--format", format).exit_code == 2
