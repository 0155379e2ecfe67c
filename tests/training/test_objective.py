"""The loss, and how clips are measured."""

from __future__ import annotations

import numpy as np
import torch
from fast_model import FastModel
from golden_recipe import video
from hypothesis import given, settings
from hypothesis import strategies as st
from objective import WEIGHTS, loss_parts, reconstruct, ssim
from picture_files import read_clip

from vidtok_edge.runtime.clips import quality
from vidtok_edge.vidtok_ref import embedded_file, load_weights


@given(seed=st.integers(0, 999), noise=st.floats(0, 80))
@settings(max_examples=20)
def test_ssim_is_that_of_the_runtime(seed: int, noise: float) -> None:
    random = np.random.default_rng(seed)
    a = random.integers(0, 256, (2, 12, 15, 3), np.uint8)
    b = (a + random.normal(0, noise, a.shape)).clip(0, 255).astype(np.uint8)
    got = ssim(torch.from_numpy(a).double() / 255, torch.from_numpy(b).double() / 255)
    assert got.shape == (2,)
    assert abs(float(got.mean()) - quality.ssim(a, b)) < 1e-6


def test_every_part_is_a_number_and_a_gradient() -> None:
    model, _ = load_weights("fsq", None)
    model.requires_grad_(True)
    parts = loss_parts(FastModel(model), torch.from_numpy(video(5, 16, 16)))
    assert parts.shape == (len(WEIGHTS),)
    assert bool(torch.isfinite(parts).all()) and bool((parts >= 0).all())
    weighted = (parts * torch.tensor(list(WEIGHTS.values()))).sum()
    weighted.backward()  # type: ignore[no-untyped-call]
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and bool(torch.isfinite(parameter.grad).all()), name


def test_clips_are_measured_as_the_runtime_measures_them() -> None:
    model, _ = load_weights("fsq", None)
    clip = read_clip(embedded_file("clip_robot.mp4"), 9)[:, :64, :96]
    qualities, pictures = reconstruct(model, {"a": clip})
    made = pictures["a"]
    assert made.shape == clip.shape and made.dtype == np.uint8
    assert abs(qualities["a"].psnr_db - quality.psnr(clip, made)) < 1e-6
    assert abs(qualities["a"].ssim - quality.ssim(clip, made)) < 1e-6
    tokens = model.encode(torch.from_numpy(clip).permute(3, 0, 1, 2)[None] / 127.5 - 1).tokens
    assert tokens is not None
    assert qualities["a"].tokens_used == len(torch.unique(tokens))
