"""The ranges file: read back as written, never trusted, and matched to its bundle fact by fact."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidtok_edge import __version__
from vidtok_edge.calib.clips import SkippedClip, UsedClip
from vidtok_edge.calib.methods import Range
from vidtok_edge.calib.ranges import (
    RANGES,
    SCHEMA,
    DataFacts,
    LayerRanges,
    Ranges,
    TensorRanges,
)
from vidtok_edge.errors import CalibrationError, OutputNotWritable
from vidtok_edge.runtime.manifest.plain import from_plain

CLIPS = (UsedClip("a.mp4", "a" * 64, 32), UsedClip("b/c.mp4", "b" * 64, 8))
DATA = DataFacts(
    variant="vidtok_kl",
    weights_sha256="0" * 64,
    height=64,
    width=96,
    frames_per_clip=32,
    clips=CLIPS,
)
TENSOR = TensorRanges(Range(-0.25, 3.5), Range(-3.25, 3.25))
RANGES_OF_TWO = Ranges(
    schema=SCHEMA,
    toolkit=__version__,
    data=DATA,
    skipped=(SkippedClip("d.mp4", "d.mp4 is empty"),),
    method="percentile",
    percentile=99.99,
    encoder=(
        LayerRanges("down.0.block.1.conv1", TENSOR, TENSOR),
        LayerRanges("conv_in", TENSOR, TENSOR),
    ),
    decoder=(LayerRanges("conv_in", TENSOR, TENSOR),),
)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    assert Ranges.load(tmp_path) is None
    assert RANGES_OF_TWO.save(tmp_path) == tmp_path / "calibration" / "ranges.json"
    assert Ranges.load(tmp_path) == RANGES_OF_TWO
    other = replace(RANGES_OF_TWO, method="mse", percentile=None)
    other.save(tmp_path)
    assert Ranges.load(tmp_path) == other
    assert os.listdir(tmp_path / "calibration") == ["ranges.json"]


bounds = st.floats(1e-30, 1e30)


@given(bounds, bounds, bounds)
def test_floats_are_exact(low: float, high: float, limit: float) -> None:
    tensor = TensorRanges(Range(-low, high), Range(-limit, limit))
    assert from_plain(TensorRanges, json.loads(json.dumps(asdict(tensor)))) == tensor


def test_layers_are_found_by_kind_and_name() -> None:
    assert list(RANGES_OF_TWO.layers("encoder")) == ["down.0.block.1.conv1", "conv_in"]
    assert RANGES_OF_TWO.layers("decoder")["conv_in"].input.asymmetric.high == 3.5
    assert DATA.frames == 40


def edit(path: str, value: object) -> Callable[[dict[str, Any]], None]:
    """Set the field at a dotted path; numbers are indices."""

    def change(document: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        place: Any = document
        for name in parents:
            place = place[int(name) if isinstance(place, list) else name]
        place[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (edit("schema", 2), "its schema is 2, this toolkit reads 1"),
        (edit("schema", True), "its schema is True, this"),
        (edit("schema", "x"), "its schema is unknown"),
        (edit("method", "max"), "method: expected 'minmax' or"),
        (edit("method", "mse"), "the document: percentile is 99.99 of the method mse"),
        (edit("percentile", None), "percentile is None of the method percentile"),
        (edit("percentile", 101), "percentile is 101; allowed: above 50"),
        (edit("data.height", 0), "data: height is 0; allowed: 1 or more"),
        (edit("data.frames_per_clip", 0), "data: frames_per_clip is 0"),
        (edit("data.weights_sha256", "A" * 64), "data: 'A+' is no SHA-256"),
        (edit("data.clips.1.sha256", "ab"), "data: 'ab' is no SHA-256"),
        (edit("data.clips.1.frames", 0), "data: a clip of which no frame was used"),
        (edit("encoder.0.layer", "a b"), r"encoder\[0\]: 'a b' is no name of a layer"),
        (edit("encoder.0.layer", ""), r"encoder\[0\]: '' is no name of a layer"),
        (edit("encoder.0.layer", "conv_in"), "two ranges of one layer of the encoder"),
        (edit("encoder.0.input.asymmetric.low", 1), r"encoder\[0\].input.asymmetric: a range from"),
        (edit("decoder.0.output.symmetric.high", -1), r"decoder\[0\].output.symmetric: a range"),
        (
            edit("encoder.0.input.symmetric.high", 9),
            r"input: symmetric is \[-3.25, 9\]; allowed: l",
        ),
        (edit("encoder.0.input.symmetric.high", math.nan), "high: expected a finite number, got n"),
        (edit("encoder.0.input.symmetric.low", -math.inf), "low: expected a finite number, got -i"),
        (edit("encoder.0.output", None), r"encoder\[0\].output: expected an object"),
        (edit("encoder.0.extra", 1), r"encoder\[0\].'extra' is not a known field"),
    ],
)
def test_what_is_no_ranges_file(
    change: Callable[[dict[str, Any]], None], sentence: str, tmp_path: Path
) -> None:
    path = RANGES_OF_TWO.save(tmp_path)
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    with pytest.raises(CalibrationError, match=rf"ranges.json cannot be used: .*{sentence}.*Calib"):
        Ranges.load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff", b"[" * 100_000])
def test_what_is_no_json(content: bytes, tmp_path: Path) -> None:
    RANGES_OF_TWO.save(tmp_path).write_bytes(content)
    with pytest.raises(CalibrationError, match=r"cannot be used: .*vidtok-edge calibrate BUNDLE"):
        Ranges.load(tmp_path)


def test_what_is_far_too_large(tmp_path: Path) -> None:
    with RANGES_OF_TWO.save(tmp_path).open("wb") as file:
        file.truncate((1 << 24) + 1)
    with pytest.raises(CalibrationError, match="larger than 16 MiB"):
        Ranges.load(tmp_path)


def test_a_folder_in_its_place(tmp_path: Path) -> None:
    (tmp_path / RANGES).mkdir(parents=True)
    with pytest.raises(CalibrationError, match="cannot be used: Is a directory"):
        Ranges.load(tmp_path)


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "calibration").write_text("")
    with pytest.raises(OutputNotWritable, match="calibration cannot be made: File exists"):
        RANGES_OF_TWO.save(tmp_path)


def test_a_calibration_with_the_same_facts_is_reused() -> None:
    assert RANGES_OF_TWO.differences(DATA, "percentile", 99.99) == ()
    renamed = replace(DATA, clips=(replace(CLIPS[0], name="z.mp4"), CLIPS[1]))
    assert RANGES_OF_TWO.differences(renamed, "percentile", 99.99) == ()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"variant": "x"}, "they are of vidtok_kl, the bundle is x"),
        (
            {"weights_sha256": "1" * 64},
            "they are of the weights 000000000000, the bundle has 111111111111",
        ),
        ({"width": 64}, "they are of frames of 64x96 (HxW), the bundle takes 64x64"),
        ({"frames_per_clip": None}, "they took 32 frames of each clip, all frames are wanted"),
        ({"clips": CLIPS[:1]}, "their clips are others (b/c.mp4 is gone)"),
        ({"clips": CLIPS[::-1]}, "their clips are others (in another order)"),
        ({"clips": (*CLIPS, UsedClip("e", "e" * 64, 4))}, "their clips are others (e is new)"),
        (
            {"clips": (replace(CLIPS[0], sha256="f" * 64), CLIPS[1])},
            "their clips are others (a.mp4 changed)",
        ),
        (
            {"clips": tuple(UsedClip(name, "e" * 64, 4) for name in "xyz")},
            "their clips are others (a.mp4 is gone, b/c.mp4 is gone, x is new and 2 more)",
        ),
        (
            {"clips": (replace(CLIPS[0], frames=31), CLIPS[1])},
            "their clips have other numbers of frames",
        ),
    ],
)
def test_why_a_calibration_is_not_reused(changes: dict[str, Any], sentence: str) -> None:
    found = RANGES_OF_TWO.differences(replace(DATA, **changes), "percentile", 99.99)
    assert found == (sentence,)


def test_another_method_or_toolkit_is_not_reused() -> None:
    old = replace(RANGES_OF_TWO, toolkit="0.0.1")
    assert old.differences(DATA, "mse", None) == (
        f"they are by toolkit 0.0.1, this is {__version__}",
        "their method is percentile 99.99, mse is wanted",
    )
    assert RANGES_OF_TWO.differences(DATA, "percentile", 99.9) == (
        "their method is percentile 99.99, percentile 99.9 is wanted",
    )
