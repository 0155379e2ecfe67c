"""INT8 and FP16 steps of narrow variants: streaming stays exact, whatever the plan and slot."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Literal

import pytest
import torch
from export_helpers import (
    Lowered,
    call,
    decode_in_calls,
    encode_in_calls,
    flags,
    frames_from_video,
    lowered,
    values_from_model,
)
from narrow import golden_video, narrow
from torch import Tensor, nn

from vidtok_edge.lowering.affine import Affine
from vidtok_edge.lowering.interface import interface_of
from vidtok_edge.lowering.kernels import Grids
from vidtok_edge.lowering.numerics import FP16, Numerics, convolutions
from vidtok_edge.lowering.step import Kind, StepDecoder, StepEncoder, StepOptions
from vidtok_edge.runtime.manifest.graphs import Placement

NAMES = [
    "vidtok_fsq_causal_488_4096",
    "vidtok_kl_causal_288_8chn_v1_1",
    "vidtok_fsq_noncausal_488_262144",
]
PLACEMENTS: list[Literal["onnxruntime", "tensorrt"]] = ["onnxruntime", "tensorrt"]


@cache
def peaks(name: str) -> Mapping[str, float]:
    """The largest magnitude at the input and output of each convolution, by layer."""
    steps = lowered(name)
    found: dict[str, float] = {}

    def hook(layer: str) -> None:
        def see(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
            peak = max(float(t.abs().max()) for t in (inputs[0], output))
            found[layer] = max(found.get(layer, 0.0), peak)

        handles.append(layers[layer].register_forward_hook(see))

    handles: list[torch.utils.hooks.RemovableHandle] = []
    layers = {**convolutions(steps.encoder), **convolutions(steps.decoder)}
    for layer in layers:
        hook(layer)
    video = clip(steps, 4)
    plan = [4]
    encode_in_calls(steps.encoder, frames_of(steps, video), plan)
    decode_in_calls(steps.decoder, values_from_model(steps.model, video), plan, steps.framing)
    for handle in handles:
        handle.remove()
    return found


def clip(steps: Lowered, latents: int) -> Tensor:
    return golden_video(steps.framing.first_frame(latents), 16, 16)


def frames_of(steps: Lowered, video: Tensor) -> Tensor:
    if steps.framing.causal:
        return frames_from_video(video, steps.framing)
    return video.permute(0, 2, 3, 4, 1)


def int8(name: str, kind: Kind, placement: Placement, double: bool = False) -> Numerics:
    """All convolutions but the first and the last in INT8, on min-max grids."""
    early = placement == "onnxruntime"
    grids = {}
    for layer, peak in peaks(name).items():
        if layer.startswith(kind) and not layer.endswith(("conv_in", "conv_out")):
            grid = Affine.asymmetric(-peak, peak) if early else Affine.symmetric(peak)
            grids[layer] = Grids(grid, grid if early else None, True, early)
    return (Double if double else Numerics)("int8", placement, grids)


class Double(Numerics):
    """Sums in float64: no plan rounds them otherwise, so that what differs is a fault of caches.

    In float32 a sum may tip a value to the next step of its grid, and these random weights amplify
    that to 20 dB.
    """

    __slots__ = ()

    @property
    def dtype(self) -> torch.dtype:
        return torch.float64


@cache
def quantised(
    name: str,
    placement: Placement,
    streams: int = 1,
    double: bool = False,
) -> Lowered:
    """Both INT8 steps of a narrow variant; its own form where the placement has one."""
    model = narrow(name, 16)
    pair = {kind: int8(name, kind, placement, double) for kind in ("encoder", "decoder")}
    chunk = StepOptions.chunk_for(model.variant)
    form = pair["encoder"].form("conv2d")
    options = StepOptions(16, 16, streams=streams, chunk=chunk, form=form, io="float")
    return Lowered(
        model,
        StepEncoder(model, options, pair["encoder"]),
        StepDecoder(model, options, pair["decoder"]),
    )


def snr(got: Tensor, want: Tensor) -> float:
    """dB."""
    return float(10 * torch.log10(want.float().var() / (got - want).float().var()))


@pytest.mark.slow
@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("name", NAMES)
def test_int8_is_near_float(name: str, placement: Placement) -> None:
    exact, coarse = lowered(name), quantised(name, placement)
    video = clip(exact, 4)
    frames, values = frames_of(exact, video), values_from_model(exact.model, video)
    _, want = encode_in_calls(exact.encoder, frames, [4])
    _, got = encode_in_calls(coarse.encoder, frames, [4])
    assert 15 < snr(got, want) < 90
    want = decode_in_calls(exact.decoder, values, [4], exact.framing)
    got = decode_in_calls(coarse.decoder, values, [4], exact.framing)
    assert 15 < snr(got, want) < 90


@pytest.mark.slow
@pytest.mark.parametrize("plan", [[1, 1, 1, 1], [2, 2], [1, 3], [3, 1]], ids=str)
@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("name", NAMES[:2])
def test_int8_does_not_depend_on_the_plan(name: str, placement: Placement, plan: list[int]) -> None:
    steps = quantised(name, placement, double=True)
    video = clip(steps, 4)
    frames = frames_from_video(video, steps.framing)
    _, want = encode_in_calls(steps.encoder, frames, [4])
    _, got = encode_in_calls(steps.encoder, frames, plan)
    assert torch.allclose(got, want, atol=1e-6)
    values = values_from_model(steps.model, video)
    end = [1] if steps.framing.delayed else []
    want = decode_in_calls(steps.decoder, values, [4, *end], steps.framing)
    got = decode_in_calls(steps.decoder, values, [*plan, *end], steps.framing)
    assert torch.allclose(got, want, atol=1e-6)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_a_slot_that_is_not_ready_keeps_its_bytes(
    placement: Placement,
) -> None:
    step = quantised(NAMES[0], placement, streams=2).encoder
    frames = frames_from_video(golden_video(5, 16, 16, 2), lowered(NAMES[0]).framing)
    start, go, wait = flags(True, True), flags(True, True), flags(True, False)
    _, caches = call(step, frames[:, :4], [start, go])
    _, after = call(step, frames[:, 4:], [flags(False, False), wait], caches)
    assert any(cache.dtype in (torch.uint8, torch.int8) for cache in caches)
    for old, new in zip(caches, after, strict=True):
        assert torch.equal(old[1], new[1])
    assert any(not torch.equal(old[0], new[0]) for old, new in zip(caches, after, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["encoder", "decoder"])
@pytest.mark.parametrize("name", NAMES[:2])
def test_caches_have_the_types_of_the_arithmetic(name: str, kind: Kind) -> None:
    variant = narrow(name, 16).variant
    options = StepOptions(16, 16)
    for numerics, types in (
        (FP16, {"float16"}),
        (int8(name, kind, Placement.TENSORRT), {"int8", "float16", "uint8"}),
        (int8(name, kind, Placement.ONNXRUNTIME), {"uint8", "float32"}),
    ):
        caches = [
            s
            for s in interface_of(variant, options, kind, numerics).inputs
            if s.name.startswith("cache_")
        ]
        assert {spec.dtype for spec in caches} <= types | {"bool"}
    assert "int8" in {
        s.dtype
        for s in interface_of(variant, options, kind, int8(name, kind, Placement.TENSORRT)).inputs
    }
