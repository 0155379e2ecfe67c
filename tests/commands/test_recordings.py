"""`recover`, `replay` and `export-recording` as commands: exit codes and what is printed."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from recordings import FSQ, latents, record, write
from stamps import span, stamp

from vidtok_edge.cli import main
from vidtok_edge.commands.export_recording import _happened
from vidtok_edge.runtime.bundle import Bundle
from vidtok_edge.runtime.manifest.manifest import EntryQuality
from vidtok_edge.runtime.recording import RecordingWriter, Tokenizer
from vidtok_edge.runtime.recording.exports.exporting import Exported
from vidtok_edge.runtime.recording.format.reader import Recording
from vidtok_edge.runtime.streaming.latents import Latents
from vidtok_edge.runtime.streaming.records import Marker, SourceRecords

FIELD = Path(__file__).parents[1] / "field" / "recordings"


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


def tiny_recording(bundle: Path, path: Path, *, flush: bool = False, gap_s: int = 0) -> Path:
    tokenizer = Tokenizer.of(Bundle.load(bundle))
    camera = SourceRecords(0)
    with RecordingWriter(path, tokenizer, ["cam"]) as writer:
        writer.take(camera.start("start", 0, 0, fps=30))
        if flush:
            writer.flush()
        for i in range(5):
            tokens = np.full((1, 2, 2), i, np.int32)
            share, taken = (
                tokenizer.framing.share(i),
                stamp(i * 133_333_333 + (i > 3) * gap_s * 10**9),
            )
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


def test_replay_says_where_a_clip_is_shorter_than_what_was_recorded(
    tiny: Path, tmp_path: Path
) -> None:
    whole = tiny_recording(tiny, tmp_path / "whole.mcap")
    gaps = tiny_recording(tiny, tmp_path / "gaps.mcap", gap_s=9)
    said = "the clip lasts 0.5 s"
    assert said not in run("replay", whole, "-b", tiny, "-o", tmp_path / "a.mp4").output
    done = run("replay", gaps, "-b", tiny, "-o", tmp_path / "b.mp4")
    assert said in done.output and "recorded in 9.5 s" in done.output


@pytest.mark.parametrize("option", ["--start", "--end", "--fps"])
@pytest.mark.parametrize("value", ["nan", "inf", "-1"])
def test_replay_refuses_what_is_no_number_or_before_all(
    tiny: Path, tmp_path: Path, option: str, value: str
) -> None:
    path = tiny_recording(tiny, tmp_path / "a.mcap")
    done = run("replay", path, "--bundle", tiny, "-o", "-", option, value)
    assert done.exit_code == 2 and "allowed" in done.stderr and not done.stdout_bytes
    for fps in (0, -5):
        assert run("replay", path, "-b", tiny, "-o", "-", "--fps", fps).exit_code == 2


def test_replay_says_how_near_a_fast_start_is(tiny: Path, tmp_path: Path) -> None:
    path = tiny_recording(tiny, tmp_path / "a.mcap")
    words = ["replay", path, "-b", tiny, "-o", tmp_path / "a.mp4", "--force"]
    fast = run(*words, "--start", 0.4, "--fast-start", 1)
    assert fast.exit_code == 0 and "everything was decoded: the bundle does not say" in fast.output
    loaded = Bundle.load(tiny)
    layers = tuple("decoder.a" for _ in range(len(loaded.manifest.graph("decoder").caches)))
    graphs = tuple(replace(graph, cache_layers=layers) for graph in loaded.manifest.graphs)
    known = replace(loaded.manifest, graphs=graphs)
    assert (known.reach("decoder") or 0) < 20
    entries = (EntryQuality(lead=1, psnr_db=39.5), EntryQuality(lead=4, psnr_db=52))
    for measured, said in [((), "was not measured"), (entries, "with 1 the first frames had 39.5")]:
        manifest = replace(known, entries=measured)
        (tiny / "manifest.json").write_text(manifest.to_json())
        assert said in run(*words, "--start", 0.4, "--fast-start", 1).output
    assert "the decoder remembers no more" in run(*words, "--start", 0.4, "--fast-start", 99).output
    assert run(*words, "--fast-start", 1).exit_code == 2, "there is no start"
    assert run(*words, "--start", 0.4, "--fast-start", 0).exit_code == 2


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


@pytest.mark.parametrize("format", ["npz", "webdataset", "lerobot", "parquet"])
def test_export_recording_says_what_it_wrote(tmp_path: Path, format: str) -> None:
    path = record(tmp_path / "a.mcap", 6)
    done = run("export-recording", path, "-o", tmp_path / "out", "--format", format)
    assert done.exit_code == 0 and "12 latents in 2 episodes" in done.output
    assert "warning" not in done.stderr
    assert run("export-recording", path, "-o", tmp_path / "out", "--format", format).exit_code == 2


@pytest.mark.parametrize("format", ["npz", "webdataset", "lerobot", "parquet"])
def test_an_export_of_a_part(tmp_path: Path, format: str) -> None:
    path = record(tmp_path / "a.mcap", 20)
    part = ("--source", 1, "--start", 0.5, "--end", 1.2)
    done = run("export-recording", path, "-o", tmp_path / "out", "--format", format, *part)
    assert done.exit_code == 0 and "7 latents in 1 episodes" in done.output
    assert "warning" not in done.stderr
    for wrong, code in ((("--source", 2), 3), (("--end", "nan"), 2), (("--start", 9), 3)):
        none = run("export-recording", path, "-o", tmp_path / "no", "--format", format, *wrong)
        assert none.exit_code == code and "error: " in none.stderr, none.output
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize("format", ["npz", "webdataset", "lerobot", "parquet"])
def test_an_export_is_added_to(tmp_path: Path, format: str) -> None:
    path, other = record(tmp_path / "a.mcap", 6), record(tmp_path / "b.mcap", 4)
    export = ("export-recording", "-o", tmp_path / "out", "--format", format)
    none = run(*export, path, "--append")
    assert none.exit_code == 2 and "nothing to add to" in none.stderr
    assert run(*export, path).exit_code == 0
    done = run(*export, other, "--append")
    assert done.exit_code == 0 and "8 latents in 2 episodes" in done.output
    both = run(*export, other, "--append", "--force")
    assert both.exit_code == 2 and "give one of them" in both.stderr
    third = run(*export, record(tmp_path / "c.mcap", 4, fps=20), "--append", "--gaps", "keep")
    assert third.exit_code == 2 and "gaps split, and keep is to be added" in third.stderr


def test_an_export_to_shards(tmp_path: Path) -> None:
    path = record(tmp_path / "a.mcap", 20)
    export = ("export-recording", path, "--format", "webdataset", "--sample-latents", 10)
    done = run(*export, "-o", tmp_path / "out", "--shards", 2)
    assert done.exit_code == 0 and "2 episodes, 3 files" in done.output
    refused = run(*export, "-o", tmp_path / "no", "--shards", 5)
    assert refused.exit_code == 2 and "There are 4 samples" in refused.stderr
    other = run("export-recording", path, "-o", tmp_path / "no", "--format", "npz", "--shards", 2)
    assert other.exit_code == 2 and "--shards is for --format webdataset" in other.stderr


@pytest.mark.parametrize("format", ["npz", "webdataset", "lerobot", "parquet"])
def test_an_export_says_what_happened_while_recording(tmp_path: Path, format: str) -> None:
    path = FIELD / "drops-continue.mcap"
    done = run("export-recording", path, "-o", tmp_path / "out", "--format", format)
    assert done.exit_code == 0 and "4 latents in 4 episodes" in done.output
    assert "92 frames were dropped in 6 places; an episode ends at each" in done.stderr
    assert "no end" not in done.stderr
    kept = run(
        *("export-recording", path, "-o", tmp_path / "kept", "--format", format, "--gaps", "keep")
    )
    assert kept.exit_code == 0 and "4 latents in 1 episodes" in kept.output
    assert "92 frames were dropped in 6 places; columns say where" in kept.stderr


@pytest.mark.parametrize(("gaps", "told"), [(1, "1 gap,"), (2, "2 gaps,")])
def test_an_export_counts_the_gaps_of_its_times(gaps: int, told: str) -> None:
    done = Exported(episodes=1, latents=2, files=3, gaps=gaps)
    assert _happened(done) == f"times have {told} in which no frame came"


def test_an_export_of_a_killed_recording_says_that_it_has_no_end(tmp_path: Path) -> None:
    export = ("export-recording", "--format", "npz", "-o")
    for format in ("npz", "webdataset", "lerobot"):  # one of its sources has no latent
        done = run(*export, tmp_path / format, FIELD / "killed.mcap", "--format", format)
        assert done.exit_code == 0, done.output
        assert "2 sources have no end: the recording was cut off" in done.stderr
    run("recover", FIELD / "killed.mcap", "-o", tmp_path / "whole.mcap")
    again = run(*export, tmp_path / "again", tmp_path / "whole.mcap")
    assert "2 sources have no end" in again.stderr  # the end is recover's, not the recorder's


def test_an_index_that_is_cut_off_costs_no_latent(tmp_path: Path) -> None:
    path = FIELD / "only-index-cut.mcap"
    done = run("export-recording", path, "-o", tmp_path / "out", "--format", "npz")
    assert done.exit_code == 0 and "18 latents in 2 episodes" in done.output
    assert "missing" not in done.stderr and "0 places" not in done.stderr
    together = run("export-recording", path, "-o", tmp_path / "both", "--format", "lerobot")
    assert together.exit_code == 3 and "(30.00, 24.00 frames/s)" in together.stderr
    for source, out in enumerate((tmp_path / "left", tmp_path / "right")):
        one = run("export-recording", path, "-o", out, "--format", "lerobot", "--source", source)
        assert one.exit_code == 0 and "9 latents in 1 episodes" in one.output
        assert "warning" not in one.stderr
    recovered = run("recover", path, "-o", tmp_path / "whole.mcap")
    assert recovered.exit_code == 0 and "nothing was lost; the index" in recovered.output


@pytest.mark.parametrize("cut", range(10, 400, 30))
def test_no_cut_behind_the_last_latent_is_called_a_missing_one(tmp_path: Path, cut: int) -> None:
    path = record(tmp_path / "a.mcap", 5)
    path.write_bytes(path.read_bytes()[:-cut])
    done = run("export-recording", path, "-o", tmp_path / "out", "--format", "npz")
    assert done.exit_code == 0 and "10 latents" in done.output
    assert "latents are missing" not in done.stderr and "0 places" not in done.stderr


def test_what_still_grows_is_not_called_cut_off(tmp_path: Path) -> None:
    path, camera = tmp_path / "a.mcap", SourceRecords(0)
    with RecordingWriter(path, FSQ, ["cam"], flush_interval_s=1000) as writer:
        writer.take(camera.start("start", 0, 0, fps=30))
        write(writer, camera, latents(0, 0, count=3))
        writer.flush()
        recovered = run("recover", path, "-o", tmp_path / "now.mcap")
        export = run("export-recording", path, "-o", tmp_path / "out", "--format", "npz")
    assert recovered.exit_code == 1 and "cut off" not in recovered.output
    assert "is still being recorded to" in recovered.output and "it goes on" in recovered.output
    assert "1 sources have no end: it is still being recorded to" in export.stderr
    with Recording.open(tmp_path / "now.mcap") as recording:
        last = list(recording.entries())[-1]
    assert isinstance(last, Marker) and last.detail == "still being recorded; found by recover"


def test_a_video_beside_the_tokens(tiny: Path, tmp_path: Path) -> None:
    path, out = tiny_recording(tiny, tmp_path / "a.mcap"), tmp_path / "out"
    export = ("export-recording", path, "-o", out, "--format", "lerobot")
    done = run(*export, "--video", "--bundle", tiny, "--backend", "cpu")
    assert done.exit_code == 0 and "5 latents in 1 episodes, 7 files" in done.output, done.output
    [video] = out.rglob("*.mp4")
    assert video.parent.parent.name == "observation.images.reconstruction"
    more = run(*export, "--append")
    assert more.exit_code == 3 and "Add --video and --bundle" in more.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--video",), "name the bundle that wrote them with --bundle"),
        (("--bundle", "b"), "--bundle, --backend and --precision are for --video"),
        (("--precision", "fp16"), "--bundle, --backend and --precision are for --video"),
        (("--video", "--bundle", "b", "--format", "npz"), "--video is for --format lerobot"),
    ],
)
def test_a_video_is_decoded(tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    path = FIELD / "drops-continue.mcap"
    done = run("export-recording", path, "-o", tmp_path / "out", "--format", "lerobot", *options)
    assert done.exit_code == 2 and message in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_video_needs_its_library(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tiny_recording(tiny, tmp_path / "a.mcap")
    export = ("export-recording", path, "-o", tmp_path / "out", "--format", "lerobot", "--video")
    missing = run(*export, "--bundle", tmp_path / "none")
    assert missing.exit_code == 3 and "none" in missing.stderr
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "av" else find(name)
    )
    done = run(*export, "--bundle", tiny)
    assert done.exit_code == 4 and 'pip install "vidtok-edge[video]"' in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("format_", "options", "said"),
    [
        ("npz", ["--shards", "2"], "--shards is for --format webdataset"),
        ("lerobot", ["--sample-latents", "8"], "--sample-latents is for --format webdataset"),
        ("webdataset", ["--task", "open"], "--task is for --format lerobot"),
        ("parquet", ["--action", "arm"], "--action is for --format lerobot"),
        ("lerobot", ["--precision", "int8"], "are for --video"),
    ],
)
def test_options_of_another_format_are_refused(
    tmp_path: Path, format_: str, options: list[str], said: str
) -> None:
    whole = record(tmp_path / "a.mcap")
    done = run("export-recording", whole, "-o", tmp_path / "set", "--format", format_, *options)
    assert done.exit_code == 2 and said in done.output and not (tmp_path / "set").exists()
