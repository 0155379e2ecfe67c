"""An interrupted calibration: goes on as if it had not been, or says why it starts anew."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vidtok_edge.calib.clips import UsedClip
from vidtok_edge.calib.histogram import BINS
from vidtok_edge.calib.ranges import DataFacts
from vidtok_edge.calib.resume import PROGRESS, CalibrationState, TensorKey
from vidtok_edge.errors import OutputNotWritable

DATA = DataFacts(
    variant="v",
    weights_sha256="0" * 64,
    height=64,
    width=96,
    frames_per_clip=None,
    clips=tuple(UsedClip(n, n * 64, 8) for n in "abc"),
)
KEYS = (TensorKey("encoder", "conv_in", "input"), TensorKey("decoder", "mid.attn/q", "output"))


def calibrate(progress: CalibrationState, clips: range) -> CalibrationState:
    for clip in clips:
        generator = torch.Generator().manual_seed(clip)
        for key in KEYS:
            progress.histogram(key).update(torch.randn(1000, generator=generator) * 2**clip)
        progress.clips_done = clip + 1
    return progress


def test_an_interrupted_calibration_ends_as_a_whole_one(tmp_path: Path) -> None:
    calibrate(CalibrationState(DATA), range(2)).save(tmp_path)
    resumed, reason = CalibrationState.load(tmp_path, DATA)
    assert resumed is not None
    assert (reason, resumed.clips_done, tuple(resumed.histograms)) == ("", 2, KEYS)
    calibrate(resumed, range(2, 3))
    whole = calibrate(CalibrationState(DATA), range(3))
    for key in KEYS:
        for one, other in zip(
            resumed.histograms[key].state(), whole.histograms[key].state(), strict=True
        ):
            assert (one == other).all()


def test_saving_replaces_and_removing_removes(tmp_path: Path) -> None:
    assert CalibrationState.load(tmp_path, DATA) == (None, "")
    CalibrationState(DATA).save(tmp_path)
    calibrate(CalibrationState(DATA), range(1)).save(tmp_path)
    loaded, _ = CalibrationState.load(tmp_path, DATA)
    assert loaded is not None
    assert loaded.clips_done == 1
    assert [path.name for path in (tmp_path / "calibration").iterdir()] == ["progress.npz"]
    CalibrationState.remove(tmp_path)
    CalibrationState.remove(tmp_path)
    assert CalibrationState.load(tmp_path, DATA) == (None, "")


def test_numpy_reads_the_file(tmp_path: Path) -> None:
    calibrate(CalibrationState(DATA), range(1)).save(tmp_path)
    with np.load(tmp_path / PROGRESS, allow_pickle=False) as file:
        assert file["counts"].shape == (2, BINS)
        assert file["extents"].shape == (2, 3)


def test_progress_of_something_else_is_not_gone_on_with(tmp_path: Path) -> None:
    CalibrationState(DATA).save(tmp_path)
    progress, reason = CalibrationState.load(
        tmp_path, replace(DATA, variant="w", clips=DATA.clips[:2])
    )
    assert progress is None
    assert reason == (
        f"{tmp_path / PROGRESS} is of another calibration: they are of v, the bundle is w; "
        "their clips are others (c is gone)."
    )


def test_progress_of_another_toolkit(tmp_path: Path) -> None:
    CalibrationState(DATA).save(tmp_path)
    rewrite(tmp_path, "meta.json", meta(toolkit="0.0.1"))
    progress, reason = CalibrationState.load(tmp_path, DATA)
    assert progress is None
    assert "it is by toolkit 0.0.1, this is " in reason


def rewrite(bundle: Path, name: str, change: Callable[[bytes], bytes | None]) -> None:
    """Change one member of the file; None removes it."""
    with zipfile.ZipFile(bundle / PROGRESS) as archive:
        members = {member: archive.read(member) for member in archive.namelist()}
    with zipfile.ZipFile(bundle / PROGRESS, "w") as archive:
        for member, data in members.items():
            changed = change(data) if member == name else data
            if changed is not None:
                archive.writestr(member, changed)


def meta(**changes: Any) -> Callable[[bytes], bytes]:
    return lambda data: json.dumps({**json.loads(data), **changes}).encode()


def array(value: Any) -> Callable[[bytes], bytes]:
    def write(_: bytes) -> bytes:
        file = io.BytesIO()
        np.save(file, value, allow_pickle=True)
        return file.getvalue()

    return write


@pytest.mark.parametrize(
    ("member", "change", "sentence"),
    [
        ("meta.json", lambda _: None, "no item named 'meta.json'"),
        ("meta.json", lambda _: b"{", "is damaged: Expecting property name"),
        ("meta.json", lambda _: b"[]", "its schema is not 1"),
        ("meta.json", lambda _: b" " * ((1 << 24) + 1), "meta.json is larger than"),
        ("meta.json", lambda _: b"[" * 100_000, "is damaged: "),
        ("meta.json", meta(schema=2), "its schema is not 1"),
        ("meta.json", meta(clips_done=4), "4 of 3 clips are done"),
        ("meta.json", meta(clips_done=-1), "-1 of 3 clips are done"),
        ("meta.json", meta(clips_done="1"), "clips_done: expected int"),
        ("meta.json", meta(tensors=[]), "counts is int64 [2, 8192], not int64 [0, 8192]"),
        (
            "meta.json",
            meta(tensors=[{"kind": "encoder", "layer": "x", "side": "input"}] * 2),
            "two histograms of one tensor",
        ),
        ("meta.json", meta(tensors=[{"kind": "e", "layer": "x", "side": "input"}]), "kind: expec"),
        ("counts.npy", lambda _: None, "no item named 'counts.npy'"),
        ("counts.npy", lambda data: data[:-8], "the data of counts is cut short"),
        ("counts.npy", lambda _: b"PK", "is damaged: "),
        ("counts.npy", lambda data: data.replace(b"'<i8'", b"'<i8"), "is damaged: "),
        ("counts.npy", lambda data: data[:6] + b"\3" + data[7:], "unknown .npy version"),
        ("counts.npy", array(np.zeros((2, BINS))), "counts is float64 [2, 8192], not int64"),
        ("counts.npy", array(np.zeros((2, 3), np.int64)), "counts is int64 [2, 3], not int64"),
        ("counts.npy", array(np.array([{}])), "counts is object [1], not int64"),
        ("counts.npy", array(np.full((2, BINS), -1)), "counts lie outside"),
        ("extents.npy", array(np.zeros((2, 3))), "limit is 0, not a power of two"),
        ("extents.npy", lambda data: data + b"x", "the data of extents is cut short or too long"),
    ],
)
def test_a_damaged_file_is_told_and_not_used(
    member: str, change: Callable[[bytes], bytes | None], sentence: str, tmp_path: Path
) -> None:
    calibrate(CalibrationState(DATA), range(2)).save(tmp_path)
    rewrite(tmp_path, member, change)
    progress, reason = CalibrationState.load(tmp_path, DATA)
    assert progress is None
    assert sentence in reason
    assert reason.startswith(f"{tmp_path / PROGRESS} is damaged: ")


@pytest.mark.parametrize("share", [0, 0.3, 0.99])
def test_a_file_that_is_cut_short(share: float, tmp_path: Path) -> None:
    calibrate(CalibrationState(DATA), range(1)).save(tmp_path)
    path = tmp_path / PROGRESS
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    progress, reason = CalibrationState.load(tmp_path, DATA)
    assert progress is None
    assert reason == f"{path} is damaged: File is not a zip file."


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    calibrate(CalibrationState(DATA), range(1)).save(tmp_path)
    path = tmp_path / PROGRESS
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    progress, reason = CalibrationState.load(tmp_path, DATA)
    assert progress is None
    assert "Bad CRC-32 for file 'counts.npy'" in reason


def test_a_folder_in_its_place(tmp_path: Path) -> None:
    (tmp_path / PROGRESS).mkdir(parents=True)
    progress, reason = CalibrationState.load(tmp_path, DATA)
    assert progress is None
    assert "is damaged" in reason


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(OutputNotWritable, match="calibration cannot be made: No such file"):
        CalibrationState(DATA).save(tmp_path / "gone")
