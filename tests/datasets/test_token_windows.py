"""Windows hold what was recorded, none reaches over anything that happened, of every format."""

from __future__ import annotations

import json
import os
import pickle
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recordings import FSQ, KL, PER_LATENT, SECOND, WALL, latents, record, values_of, write
from stories import RUNS, eventful

torch = pytest.importorskip("torch")

from vidtok_edge.datasets import TokenWindows  # noqa: E402
from vidtok_edge.errors import DatasetError, RecordingError, UsageError  # noqa: E402
from vidtok_edge.runtime.recording import RecordingWriter  # noqa: E402
from vidtok_edge.runtime.recording.data_rows import DataRequest  # noqa: E402
from vidtok_edge.runtime.recording.exports.exporting import (  # noqa: E402
    Format,
    export_recording,
)
from vidtok_edge.runtime.recording.recovery import recover  # noqa: E402
from vidtok_edge.runtime.streaming.records import Sample, SourceRecords  # noqa: E402

FORMATS: tuple[Format, ...] = ("npz", "webdataset", "lerobot", "parquet")


def exported(path: Path, format: Format, **options: Any) -> Path:
    output = path.with_name(f"{path.stem}-{format}")
    if format == "webdataset":
        options |= {"sample_latents": 3, "shards": 2}
    export_recording(path, output, format, **options)
    return output


def starts(length: int, stride: int = 1) -> list[int]:
    """Where windows of `eventful` begin, counted from the beginning of the recording."""
    found: list[int] = []
    at = 0
    for run in RUNS:
        found += range(at, at + run - length + 1, stride)
        at += run
    return found


@pytest.mark.parametrize("given", ["recording", *FORMATS])
@pytest.mark.parametrize(("length", "stride"), [(1, 1), (2, 1), (2, 2), (3, 1), (4, 1)])
def test_windows_are_those_between_what_happened(
    given: Any, length: int, stride: int, tmp_path: Path
) -> None:
    path = eventful(tmp_path / "a.mcap", sources=2)
    windows = TokenWindows(
        path if given == "recording" else exported(path, given), length=length, stride=stride
    )
    expected = [(source, at) for source in range(2) for at in starts(length, stride)]
    assert len(windows) == len(expected)
    for (source, at), window in zip(
        expected, (windows[i] for i in range(len(windows))), strict=True
    ):
        tokens = np.stack([values_of(source, at + i) for i in range(length)])
        assert window["tokens"].dtype == torch.int64
        np.testing.assert_array_equal(window["tokens"].numpy(), tokens)
        seconds = ((at + np.arange(length)) * PER_LATENT / SECOND).astype(np.float32)
        np.testing.assert_array_equal(window["data"]["action"][:, 0].numpy(), seconds)
        np.testing.assert_array_equal(window["data"]["action"][:, 1].numpy(), -seconds)
        np.testing.assert_array_equal(window["data"]["arm/grip"][:, 0].numpy(), seconds)
    assert windows.facts.latents_per_s == pytest.approx(10)
    assert dict(windows.facts.channels) == {"action": 2, "arm/grip": 1}


@pytest.mark.parametrize("format", FORMATS)
def test_no_window_crosses_gaps_that_an_export_kept(format: Format, tmp_path: Path) -> None:
    path = eventful(tmp_path / "a.mcap")
    kept = TokenWindows(exported(path, format, gaps="keep"), length=2)
    expected = TokenWindows(path, length=2)
    assert len(kept) == len(expected) == len(starts(2))
    for number in range(len(kept)):
        assert torch.equal(kept[number]["tokens"], expected[number]["tokens"])
        assert torch.equal(kept[number]["data"]["action"], expected[number]["data"]["action"])


@pytest.mark.parametrize("given", ["recording", *FORMATS])
def test_latents_without_a_value_are_in_no_window_or_have_none(given: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    with RecordingWriter(path, FSQ, ["cam"]) as writer:
        camera = SourceRecords(0)
        writer.take(camera.start("start", 0, WALL, fps=40))
        for i in range(12):
            if i not in (4, 5, 9):
                at = i * PER_LATENT
                value = np.array([np.nan if i == 7 else i])
                writer.log(
                    Sample(channel="action", time_ns=at, wall_time_ns=WALL + at, values=value)
                )
            write(writer, camera, latents(0, i))
    keep = DataRequest(max_age_s=0.05, missing="keep")
    split = DataRequest(max_age_s=0.05)
    place = path if given == "recording" else exported(path, given, data=keep)
    whole, kept = (TokenWindows(place, length=2, data=request) for request in (split, keep))
    firsts = [round(float(whole[i]["data"]["action"][0, 0])) for i in range(len(whole))]
    assert firsts == [0, 1, 2, 10]
    assert len(kept) == 11
    known = [bool(torch.isfinite(kept[i]["data"]["action"]).all()) for i in range(11)]
    assert [i for i in range(11) if known[i]] == firsts
    if given != "recording":
        other = exported(path, given, data=split, force=True)
        assert len(TokenWindows(other, length=2)) == len(firsts)


@pytest.mark.parametrize("given", ["recording", *FORMATS])
def test_latents_of_kl_models(given: Any, tmp_path: Path) -> None:
    path = record(tmp_path / "a.mcap", 6, tokenizer=KL, sources=1)
    windows = TokenWindows(path if given == "recording" else exported(path, given), length=6)
    assert len(windows) == 1 and windows[0]["data"] == {}
    expected = np.stack([values_of(0, i, KL) for i in range(6)])
    np.testing.assert_array_equal(windows[0]["latent"].numpy(), expected)


@pytest.mark.parametrize("given", ["recording", *FORMATS])
def test_one_camera_and_some_channels(given: Any, tmp_path: Path) -> None:
    path = eventful(tmp_path / "a.mcap", sources=2)
    request = DataRequest(channels=["arm/grip"])
    windows = TokenWindows(
        path if given == "recording" else exported(path, given), length=2, source=1, data=request
    )
    assert len(windows) == len(starts(2)) and list(windows[0]["data"]) == ["arm/grip"]
    np.testing.assert_array_equal(windows[0]["tokens"][0].numpy(), values_of(1, 0))


@pytest.mark.parametrize("given", ["recording", *FORMATS])
def test_blocks_are_read_in_parts_and_forgotten(given: Any, tmp_path: Path) -> None:
    path = record(tmp_path / "a.mcap", 30, sources=1)
    windows = TokenWindows(
        path if given == "recording" else exported(path, given), length=7, cache_bytes=1
    )
    for store in windows.stores:
        store.block = 4
    for first in np.random.default_rng(0).permutation(24):
        expected = np.stack([values_of(0, first + i) for i in range(7)])
        np.testing.assert_array_equal(windows[int(first)]["tokens"].numpy(), expected)
        assert len(windows.windows._blocks) == 1


@pytest.mark.parametrize("given", ["recording", *FORMATS])
def test_a_pickled_dataset_reads_on(given: Any, tmp_path: Path) -> None:
    path = eventful(tmp_path / "a.mcap")
    windows = TokenWindows(path if given == "recording" else exported(path, given), length=2)
    expected = windows[0]
    again = pickle.loads(pickle.dumps(windows))
    assert torch.equal(again[0]["tokens"], expected["tokens"])
    windows.close()
    assert torch.equal(windows[0]["tokens"], expected["tokens"])
    with pytest.raises(IndexError):
        windows[len(windows)]


def test_several_recordings_and_sets_are_one_dataset(tmp_path: Path) -> None:
    first = eventful(tmp_path / "a.mcap")
    sets = [exported(eventful(tmp_path / f"{format}.mcap"), format) for format in FORMATS]
    windows = TokenWindows([first, *sets], length=2)
    assert len(windows) == 5 * len(starts(2))
    assert [int(windows[i]["run"]) for i in range(len(windows))][-1] == 5 * len(RUNS) - 1


def test_what_is_named_twice_is_refused(tmp_path: Path) -> None:
    path, link = eventful(tmp_path / "a.mcap"), tmp_path / "link.mcap"
    link.symlink_to(path)
    for given in ([path, path], [path, link]):
        with pytest.raises(UsageError, match=rf"{path} and {given[1]} are the same\. Name it once"):
            TokenWindows(given, length=2)


def test_copies_and_exports_of_a_recording_are_not_taken_with_it(tmp_path: Path) -> None:
    path = eventful(tmp_path / "a.mcap")
    recover(path, tmp_path / "whole.mcap")
    sets = [exported(path, format) for format in FORMATS]
    for one, then in pairwise([tmp_path / "whole.mcap", path, *sets]):
        with pytest.raises(DatasetError, match=rf"{one} and {then} hold the same latents"):
            TokenWindows([one, then], length=2)
    parts = [exported(path, "npz", end_s=0.5, force=True)]
    parts.append(exported(path, "parquet", start_s=0.5, force=True))
    assert len(TokenWindows(parts, length=1)) == len(TokenWindows(path, length=1)) == sum(RUNS)


def test_a_set_of_several_recordings(tmp_path: Path) -> None:
    paths = [eventful(tmp_path / f"{name}.mcap") for name in "ab"]
    for format in FORMATS:
        output = tmp_path / format
        export_recording(paths, output, format)
        assert len(TokenWindows(output, length=2)) == 2 * len(starts(2)), format


@pytest.mark.parametrize("format", FORMATS)
def test_values_that_are_missing(format: Format, tmp_path: Path) -> None:
    path = eventful(tmp_path / "a.mcap")
    request = DataRequest(max_age_s=1e-9, missing="keep")
    with np.errstate(all="raise"):
        output = exported(path, format, data=request)
    every = TokenWindows(output, length=2, data=request)
    assert len(every) == len(starts(2))
    with pytest.raises(UsageError, match="max_age_s 1e-09"):
        TokenWindows(output, length=2, data=DataRequest(max_age_s=2))


@pytest.mark.parametrize("given", ["recording", *FORMATS])
@pytest.mark.parametrize(
    ("other", "fps", "said"),
    [
        (
            {"height": 32, "width": 48, "grid_height": 4, "grid_width": 6},
            40,
            "another grid .* differ in height, width, grid_height, grid_width",
        ),
        ({"weights_sha256": "ef" * 32}, 40, "another tokenizer .* differ in weights_sha256"),
        ({}, 20, r"5\.000 latents per second, and .* 10\.000"),
    ],
)
def test_what_does_not_fit_is_refused(
    given: Any, other: dict[str, Any], fps: float, said: str, tmp_path: Path
) -> None:
    first = eventful(tmp_path / "a.mcap")
    second = eventful(tmp_path / "b.mcap", tokenizer=replace(FSQ, **other), fps=fps)
    if given != "recording":
        first, second = exported(first, given), exported(second, given)
    with pytest.raises(DatasetError, match=said):
        TokenWindows([first, second], length=2)


def test_other_channels_are_refused(tmp_path: Path) -> None:
    first, second = eventful(tmp_path / "a.mcap"), record(tmp_path / "b.mcap", 4, sources=1)
    with pytest.raises(DatasetError, match=r"data channels none, and .*action"):
        TokenWindows([first, second], length=2)
    for given in (first, *(exported(first, format) for format in FORMATS)):
        with pytest.raises((DatasetError, RecordingError), match="no data channel 'torque'"):
            TokenWindows(given, length=2, data=DataRequest(channels=["torque"]))


def test_windows_that_there_are_not(tmp_path: Path) -> None:
    path = eventful(tmp_path / "a.mcap")
    with pytest.raises(DatasetError, match=r"no window of 5 latents.* lack a value .* has 4"):
        TokenWindows(path, length=5)
    with pytest.raises(UsageError, match="length of windows is 0"):
        TokenWindows(path, length=0)
    with pytest.raises(UsageError, match="Name one or several"):
        TokenWindows([], length=1)
    (tmp_path / "mine").mkdir()
    with pytest.raises(DatasetError, match="export-recording did not write it"):
        TokenWindows(tmp_path / "mine", length=1)


@pytest.mark.parametrize("name", ["no.mcap", "no", "n" * 300, "n" * 300 + ".index.json"])
def test_names_of_nothing_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises((DatasetError, RecordingError), match="n"):
        TokenWindows(tmp_path / name, length=1)


@pytest.mark.parametrize("given", ["recording", *FORMATS])
def test_a_file_that_changes_is_refused(given: Any, tmp_path: Path) -> None:
    path = eventful(tmp_path / "a.mcap")
    windows = TokenWindows(path if given == "recording" else exported(path, given), length=2)
    windows.close()
    place = windows.windows.runs[0].store.path
    files = [place] if place.is_file() else [p for p in place.rglob("*") if p.is_file()]
    for file in files:
        os.utime(file, ns=(1, 1))
    with pytest.raises(DatasetError, match="changed since the dataset was opened"):
        windows[0]


@pytest.mark.parametrize(
    ("format", "files"),
    [
        ("npz", "*camera0-stream0000-latent000000.npz"),
        ("webdataset", "shard-000001.tar"),
        ("lerobot", "data/chunk-000/file-000.parquet"),
        ("parquet", "data/train-00000.parquet"),
    ],
)
def test_a_file_that_is_gone_or_cut_off(format: Format, files: str, tmp_path: Path) -> None:
    output = exported(eventful(tmp_path / "a.mcap"), format)
    for file in output.glob(files):
        os.truncate(file, file.stat().st_size // 2)
    with pytest.raises(DatasetError):
        TokenWindows(output, length=2)[0]
    for file in output.glob(files):
        file.unlink()
    with pytest.raises(DatasetError, match=r"[Cc]opy"):
        TokenWindows(output, length=2)[0]


@pytest.mark.parametrize("format", ["webdataset", "lerobot", "parquet"])
def test_a_byte_of_a_file_that_changed_gives_no_other_numbers(
    format: Format, tmp_path: Path
) -> None:
    output = exported(eventful(tmp_path / "a.mcap"), format)
    windows = TokenWindows(output, length=1)
    expected = [windows[i] for i in range(len(windows))]
    windows.close()
    file = sorted([*output.glob("*.tar"), *(output / "data").rglob("*.parquet")])[0]
    whole, refused = file.read_bytes(), 0
    pages = len(whole) - int.from_bytes(whole[-8:-4], "little") - 8  # behind them is the footer
    for place in range(4, pages if file.suffix == ".parquet" else len(whole), 29):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            windows = TokenWindows(output, length=1)
            for i, window in enumerate(expected):
                assert torch.equal(windows[i]["tokens"], window["tokens"]), place
                assert torch.equal(windows[i]["data"]["action"], window["data"]["action"]), place
        except DatasetError:
            refused += 1
        windows.close()
    assert refused


def test_the_parts_of_a_recording(tmp_path: Path) -> None:
    parts = [eventful(tmp_path / f"a-{n}.mcap") for n in range(2)]
    entries = [
        {"file": part.name, "begin_ns": 1, "end_ns": 2, "latents": 13, "samples": 0, "bytes": 1}
        | {"finished": True, "removed": False}
        for part in parts
    ]
    index = tmp_path / "a.index.json"
    index.write_text(json.dumps({"schema": 1, "plan": {}, "parts": entries}))
    assert len(TokenWindows(index, length=2)) == 2 * len(starts(2))


@pytest.mark.parametrize("given", ["recording", *FORMATS])
def test_latents_of_a_tokenizer_that_decodes_windows(given: Any, tmp_path: Path) -> None:
    """Its episodes are whole windows, and so are runs; windows to train on are cut anywhere."""
    tokenizer = replace(FSQ, causal=False, window=3)
    path = record(tmp_path / "a.mcap", 11, sources=1, tokenizer=tokenizer)
    windows = TokenWindows(path if given == "recording" else exported(path, given), length=4)
    assert len(windows) == 9 - 4 + 1
    expected = np.stack([values_of(0, 5 + i, tokenizer) for i in range(4)])
    np.testing.assert_array_equal(windows[5]["tokens"].numpy(), expected)


@pytest.mark.parametrize("given", ["recording", *FORMATS])
def test_latents_of_half_the_rate_are_in_no_window(given: Any, tmp_path: Path) -> None:
    """Encoding was late, and of two frames one was taken for three latents."""
    path, at = tmp_path / "a.mcap", 0
    with RecordingWriter(path, FSQ, ["cam"]) as writer:
        camera = SourceRecords(0)
        for count, every in ((4, 1), (3, 2), (5, 1)):
            now = max(0, at * PER_LATENT - 1)
            reason: Any = "key" if at else "start"
            given_up = "half-rate" if every > 1 else ""
            writer.take(
                camera.start(reason, now, WALL + now, fps=40, every=every, given_up=given_up)
            )
            for index in range(count):
                write(writer, camera, latents(0, index, at=at, holds=at))
                at += every
        writer.take(camera.end("over", at * PER_LATENT, WALL + at * PER_LATENT))
    windows = TokenWindows(path if given == "recording" else exported(path, given), length=2)
    assert windows.facts.latents_per_s == pytest.approx(10)
    firsts = [0, 1, 2, 10, 11, 12, 13]
    assert len(windows) == len(firsts)
    for number, first in enumerate(firsts):
        expected = np.stack([values_of(0, first), values_of(0, first + 1)])
        np.testing.assert_array_equal(windows[number]["tokens"].numpy(), expected)


@pytest.mark.parametrize("given", ["recording", *FORMATS])
def test_channels_whose_values_are_called_otherwise_are_refused(given: Any, tmp_path: Path) -> None:
    """Their columns would mean two things."""
    paths = []
    for fields in (("x", "y"), ("y", "x")):
        paths.append(tmp_path / f"{'-'.join(fields)}.mcap")
        with RecordingWriter(paths[-1], FSQ, ["cam"], flush_interval_s=1000) as writer:
            camera = SourceRecords(0)
            writer.take(camera.start("start", 0, WALL, fps=40))
            for i in range(4):
                write(writer, camera, latents(0, i))
                at_ns, values = i * PER_LATENT, np.zeros(2)
                writer.log(
                    Sample(channel="q", time_ns=at_ns, wall_time_ns=WALL + at_ns, values=values),
                    fields,
                )
    sets = paths if given == "recording" else [exported(path, given) for path in paths]
    with pytest.raises(DatasetError, match=r"The values of q are y, x in .*, and x, y in"):
        TokenWindows(sets, length=2)
    assert len(TokenWindows(sets, length=2, data=DataRequest(channels=[]))) == 6
