"""What a layer costs alone, and a mix: the same numbers as graphs that are lowered for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from clips import make_clip
from narrow import narrow
from numpy.typing import NDArray

from vidtok_edge.calib.calibration import CalibrationRequest, calibrate
from vidtok_edge.calib.int8 import PLACEMENTS, calibration_options, levels_of
from vidtok_edge.calib.mix import MixMeter, Work
from vidtok_edge.calib.placement import int8_numerics
from vidtok_edge.calib.policy import DEFAULT_POLICY, Policy, Rule
from vidtok_edge.calib.ranges import Ranges
from vidtok_edge.calib.sensitivity import damages
from vidtok_edge.lowering.interface import KINDS
from vidtok_edge.lowering.numerics import Numerics
from vidtok_edge.lowering.step import StepOptions
from vidtok_edge.lowering.torch_step import TorchStreams
from vidtok_edge.runtime.clips.quality import psnr
from vidtok_edge.runtime.manifest.graphs import Placement
from vidtok_edge.vidtok_ref import VidTok

Pixels = NDArray[np.uint8]


@pytest.fixture(scope="module")
def frames(options: StepOptions) -> Pixels:
    """Two latents of noise."""
    random = np.random.default_rng(1)
    return random.integers(0, 256, (5, options.height, options.width, 3), np.uint8)


@pytest.fixture(scope="module")
def meter(model: VidTok, options: StepOptions, ranges: Ranges, frames: Pixels) -> MixMeter:
    return MixMeter(model, options, ranges, frames)


def streamed(streams: TorchStreams, frames: Pixels) -> tuple[NDArray[np.int32], Pixels]:
    """Tokens and pictures."""
    encoder, decoder = streams.encoder(), streams.decoder()
    latents = [result for frame in frames for result in encoder.push(frame)]
    latents += encoder.finish()
    pictures = [picture for part in latents for picture in decoder.push(part)]
    pictures += decoder.finish()
    return (
        np.concatenate([part.values for part in latents]),
        np.stack([picture.pixels for picture in pictures]),
    )


@pytest.mark.slow
@pytest.mark.parametrize("placement", PLACEMENTS)
def test_a_mix_is_what_a_step_lowered_for_it_computes(
    placement: Placement,
    model: VidTok,
    options: StepOptions,
    ranges: Ranges,
    frames: Pixels,
    meter: MixMeter,
) -> None:
    numerics = {kind: int8_numerics(ranges, DEFAULT_POLICY, kind, placement) for kind in KINDS}
    if placement == "tensorrt":  # what is not in INT8 is float16 in its graphs, and here float32
        numerics = {kind: Numerics("int8", Placement.ANY, n.grids) for kind, n in numerics.items()}
    tokens, pictures = streamed(TorchStreams(model, options, numerics), frames)
    plain = {kind: Numerics("fp32") for kind in KINDS}
    exact_tokens, exact_pictures = streamed(TorchStreams(model, options, plain), frames)
    damage = meter.measure(levels_of(ranges, DEFAULT_POLICY), placement)
    assert damage.tokens_equal == pytest.approx(float((tokens == exact_tokens).mean()))
    assert damage.psnr_db == pytest.approx(psnr(exact_pictures, pictures), abs=1e-6)
    assert damage.loss_db == pytest.approx(
        psnr(frames, exact_pictures) - psnr(frames, pictures), abs=1e-6
    )


def test_no_layer_in_int8_costs_nothing(meter: MixMeter) -> None:
    damage = meter.measure_both({})
    assert (damage.tokens_equal, damage.psnr_db, damage.loss_db) == (1.0, np.inf, 0.0)


@pytest.mark.slow
def test_each_layer_is_measured_alone_and_the_worst_is_first(
    model: VidTok, options: StepOptions, ranges: Ranges, meter: MixMeter
) -> None:
    encoder, decoder = (list(ranges.layers(kind)) for kind in KINDS)
    some = [*encoder[2:5], *decoder[3:6]]
    policy = Policy((*(Rule(name, "int8") for name in some[:-1]), Rule(some[-1], "cache")))
    levels, work = levels_of(ranges, policy), Work(model.variant, options)
    told: list[tuple[int, int | None]] = []
    found = damages(meter, work, levels, lambda done, total: told.append((done, total)))
    assert {(d.kind, d.layer, d.level) for d in found} == {
        ("encoder" if name in encoder else "decoder", name, levels[name]) for name in some
    }
    assert told == [(i, 6) for i in range(1, 7)]
    assert [d.psnr_db for d in found] == sorted(d.psnr_db for d in found)
    for damage in found:
        alone = meter.measure({damage.layer: damage.level})
        assert (alone.tokens_equal, alone.psnr_db) == (damage.tokens_equal, damage.psnr_db)
        assert 0 < damage.work_share < 1
        assert damage.kind == "encoder" or damage.tokens_equal == 1


def test_the_parts_of_the_work_add_up(model: VidTok, options: StepOptions) -> None:
    work = Work(model.variant, options)
    assert sum(work.shares.values()) == pytest.approx(1)
    assert work.int8_share(dict.fromkeys(work.shares, "int8")) == pytest.approx(1)
    assert work.int8_share(dict.fromkeys(work.shares, "cache")) == 0


@pytest.mark.slow
def test_latents_without_tokens_and_whole_windows(tmp_path: Path) -> None:
    model = narrow("vidtok_kl_noncausal_488_4chn", 16)
    chunk = StepOptions.chunk_for(model.variant)
    options = calibration_options(StepOptions(16, 16, streams=2, chunk=chunk, io="float"))
    assert (options.streams, options.io) == (1, "uint8")
    random = np.random.default_rng(2)
    frames = random.integers(0, 256, (16, 16, 16, 3), np.uint8)
    clip = make_clip(tmp_path / "a.mkv", frames, size=(16, 16), codec="ffv1")
    request = CalibrationRequest(clip, method="minmax")
    ranges = calibrate(model, options, "0" * 64, tmp_path, request).ranges
    meter = MixMeter(model, options, ranges, frames)
    layers = list(meter.ranges.layers("encoder"))
    damage = meter.measure(dict.fromkeys(layers, "int8"))
    assert damage.tokens_equal is None and 0 < damage.psnr_db < np.inf
