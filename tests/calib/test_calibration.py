"""Ranges from live streams: caches seen, clips in turn, reused or refused with a reason."""

from __future__ import annotations

import math
import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from clips import make_clip
from narrow import narrow
from torch import nn

from vidtok_edge.calib.calibration import CalibrationRequest, calibrate, plan_calibration
from vidtok_edge.calib.clips import find_clips
from vidtok_edge.calib.ranges import Ranges
from vidtok_edge.calib.resume import PROGRESS, CalibrationState
from vidtok_edge.errors import CalibrationError
from vidtok_edge.lowering.facts import BOTH_FP32
from vidtok_edge.lowering.interface import KINDS
from vidtok_edge.lowering.numerics import convolutions
from vidtok_edge.lowering.step import StepOptions
from vidtok_edge.lowering.torch_step import TorchStreams
from vidtok_edge.vidtok_ref import VidTok

SHA256 = "0" * 64


def extremes(
    model: VidTok, options: StepOptions, data: Path, *, each_alone: bool = False
) -> dict[tuple[str, str], tuple[float, float]]:
    """The least and largest value into and out of each layer, seen by hooks of the test's own.

    `each_alone`: every chunk in a stream of its own, so that no cache is read.
    """
    streams = TorchStreams(model, options, BOTH_FP32)
    seen: dict[tuple[str, str], tuple[float, float]] = {}

    def note(key: tuple[str, str], values: torch.Tensor) -> None:
        low, high = seen.get(key, (0.0, 0.0))
        seen[key] = (min(low, float(values.min())), max(high, float(values.max())))

    def hook(name: str) -> Any:
        def look(module: nn.Module, given: tuple[torch.Tensor, ...], out: torch.Tensor) -> None:
            note((name, "input"), given[0])
            note((name, "output"), out)

        return look

    for kind in KINDS:
        for name, layer in convolutions(streams.steps[kind].module).items():
            layer.register_forward_hook(hook(name))
    clips = find_clips(data, size=(options.height, options.width), least_frames=4)
    for clip in clips:
        frames = list(clips.frames(clip))
        count = 4 if each_alone else len(frames)
        for start in range(0, len(frames), count):
            group = frames[start : start + count]
            encoder, decoder = streams.encoder(), streams.decoder()
            results = [latents for frame in group for latents in encoder.push(frame)]
            for latents in [*results, *encoder.finish()]:
                decoder.push(latents)
            decoder.finish()
    return seen


@pytest.mark.slow
def test_minmax_is_what_hooks_see(
    model: VidTok, options: StepOptions, data: Path, ranges: Ranges
) -> None:
    seen = extremes(model, options, data)
    layers = {**ranges.layers("encoder"), **ranges.layers("decoder")}
    assert {name for name, _ in seen} == set(layers)
    for (name, side), (low, high) in seen.items():
        found = getattr(layers[name], side)
        assert (found.asymmetric.low, found.asymmetric.high) == pytest.approx(
            (low, high), rel=1e-5
        ), name
        assert found.symmetric.high == pytest.approx(max(-low, high), rel=1e-5), name


@pytest.mark.slow
def test_the_frames_of_caches_are_among_what_is_seen(
    model: VidTok, options: StepOptions, data: Path, ranges: Ranges
) -> None:
    """A layer behind a temporal kernel has other values where the past is real than where it is
    the first frame again."""
    layers = {**ranges.layers("encoder"), **ranges.layers("decoder")}
    alone = extremes(model, options, data, each_alone=True)
    differ = 0
    for (name, side), seen in alone.items():
        found = getattr(layers[name], side).asymmetric
        differ += (found.low, found.high) != seen
    assert differ > len(alone) / 4
    first = {name for name, _ in alone if name == "encoder.conv_in"}
    assert first and all(
        layers[name].input.asymmetric.high >= alone[(name, "input")][1] for name in first
    )


class Interrupted(Exception):
    pass


@pytest.mark.slow
def test_an_interrupted_calibration_goes_on(
    model: VidTok, options: StepOptions, data: Path, ranges: Ranges, tmp_path: Path
) -> None:
    request = CalibrationRequest(data, method="minmax")
    calls = []

    def stop(done: int, total: int | None) -> None:
        assert total == 15
        if done == 12:  # in the second clip
            raise Interrupted

    with pytest.raises(Interrupted):
        calibrate(model, options, SHA256, tmp_path, request, stop)
    assert (tmp_path / PROGRESS).exists()
    assert Ranges.load(tmp_path) is None
    done = calibrate(
        model, options, SHA256, tmp_path, request, lambda done, total: calls.append(done)
    )
    assert calls == list(range(10, 16))  # the first clip is not read again
    assert done.ranges == ranges and not done.reused and done.notes == ()
    assert not (tmp_path / PROGRESS).exists()


@pytest.mark.slow
def test_what_has_not_changed_is_reused(
    model: VidTok, options: StepOptions, data: Path, ranges: Ranges, tmp_path: Path
) -> None:
    ranges.save(tmp_path)
    request = CalibrationRequest(data, method="minmax")
    done = calibrate(model, options, SHA256, tmp_path, request, no_frames)
    assert done.reused and done.ranges == ranges and done.notes == ()


def no_frames(done: int, total: int | None) -> None:
    raise AssertionError("a frame was read")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sha256", "size", "request_", "reason"),
    [
        ("1" * 64, (16, 24), CalibrationRequest(method="minmax"), "weights 000000000000"),
        (SHA256, (16, 16), CalibrationRequest(method="minmax"), "frames of 16x24 .* 16x16"),
        (SHA256, (16, 24), CalibrationRequest(method="mse"), "method is minmax, mse is wanted"),
        (SHA256, (16, 24), CalibrationRequest(method="minmax", frames=5), "took 33 frames"),
    ],
    ids=["weights", "size", "method", "frames"],
)
def test_what_has_changed_is_not_reused_and_why(
    sha256: str,
    size: tuple[int, int],
    request_: CalibrationRequest,
    reason: str,
    model: VidTok,
    data: Path,
    ranges: Ranges,
    tmp_path: Path,
) -> None:
    ranges.save(tmp_path)
    request = CalibrationRequest(data, request_.frames, request_.method)
    plan = plan_calibration(model.variant, StepOptions(*size), sha256, tmp_path, request)
    assert plan.stored is None
    assert any(re.search(reason, note) for note in plan.notes), plan.notes


def test_a_layer_that_gives_nan_is_named(options: StepOptions, data: Path, tmp_path: Path) -> None:
    broken = deepcopy(narrow("vidtok_fsq_causal_488_32768_v1_1", 16))
    with torch.no_grad():
        broken.state_dict()["encoder.conv_in.conv.weight"][0] = math.nan
    with pytest.raises(CalibrationError, match=r"The output of encoder\.conv_in has \d+ NaN of"):
        calibrate(broken, options, SHA256, tmp_path, CalibrationRequest(data))
    assert Ranges.load(tmp_path) is None


@pytest.mark.slow
def test_a_clip_of_one_colour_is_enough(
    model: VidTok, options: StepOptions, tmp_path: Path
) -> None:
    black = np.zeros((5, options.height, options.width, 3), np.uint8)
    clip = make_clip(tmp_path / "black.mkv", black, size=black.shape[1:3], codec="ffv1")
    done = calibrate(model, options, SHA256, tmp_path, CalibrationRequest(clip))
    assert len(done.ranges.encoder) > 20 and len(done.ranges.decoder) > 20


@pytest.mark.slow
def test_memory_does_not_grow_with_the_clips(
    model: VidTok, options: StepOptions, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = []
    save = CalibrationState.save

    def measure(self: CalibrationState, bundle: Path) -> None:
        arrays = [h.counts for h in self.histograms.values()]
        held.append((len(arrays), sum(a.nbytes for a in arrays)))
        save(self, bundle)

    monkeypatch.setattr(CalibrationState, "save", measure)
    listed = tmp_path / "clips.txt"
    listed.write_text("\n".join([str(data / "b.mkv")] * 4))
    request = CalibrationRequest(listed, method="minmax")
    calibrate(model, options, SHA256, tmp_path, request)
    assert len(held) == 4 and len(set(held)) == 1
