"""Rounding passes, whatever its size in numbers; what is wrong by more than rounding does not."""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from narrow import golden_video, narrow
from numpy.typing import NDArray
from torch import Tensor

from vidtok_edge.export.verifying import rounding
from vidtok_edge.export.verifying.rounding import (
    CEILING,
    FLOAT_LIMIT,
    MULTIPLE,
    compare_floats,
    in_float64,
)

Array = NDArray[Any]
NAME = "vidtok_fsq_causal_888_32768_v1_1"
WIDE = 64.0
"""Scales the narrow model's outputs, so that its rounding is past the absolute limit."""


def of(truth: Array, error: float, seed: int) -> Array:
    """`truth` in float32 with random errors whose RMS is `error`."""
    noise = np.random.default_rng(seed).standard_normal(truth.shape)
    return (truth + error * noise).astype(np.float32)


TRUTH = np.random.default_rng(0).uniform(-1, 1, (9, 16, 16, 3))


def judged(got: Array, reference: Array) -> bool:
    return bool(compare_floats("decode", got, reference, lambda: TRUTH))


def never() -> Array:
    raise AssertionError("float64 is not needed here")


def test_what_is_within_the_limit_costs_no_float64() -> None:
    same = TRUTH.astype(np.float32)
    comparison = compare_floats("decode", same + np.float32(1e-5), same, never)
    assert comparison and comparison.limit == FLOAT_LIMIT


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 2 * CEILING])
def test_what_is_far_off_costs_no_float64_and_fails(bad: float) -> None:
    got = TRUTH.astype(np.float32)
    got[3, 4, 5, 0] += bad
    assert not compare_floats("decode", got, TRUTH.astype(np.float32), never)


def test_a_missing_frame_fails() -> None:
    got = TRUTH.astype(np.float32)
    assert not compare_floats("decode", got[1:], got, never)


def test_rounding_like_the_references_own_passes() -> None:
    reference, got = of(TRUTH, 8e-6, 1), of(TRUTH, 8e-6, 2)
    assert float(np.abs(got - reference).max()) > FLOAT_LIMIT
    comparison = compare_floats("decode", got, reference, lambda: TRUTH)
    assert comparison and 0.5 < comparison.value < 2 and comparison.limit == MULTIPLE


def test_an_error_everywhere_fails() -> None:
    reference = of(TRUTH, 8e-6, 1)
    assert not judged(of(TRUTH, 4 * 8e-6, 2), reference)


def test_an_error_in_one_place_fails() -> None:
    reference, got = of(TRUTH, 4e-6, 1), of(TRUTH, 4e-6, 2)
    got[3, 4, 5, 0] += np.float32(1e-4)
    assert not judged(got, reference)


def test_a_better_graph_passes() -> None:
    assert judged(TRUTH.astype(np.float32), of(TRUTH, 1e-5, 1))


def test_frames_as_bytes_are_judged_beyond_their_rounding() -> None:
    reference = of(TRUTH, 1e-5, 1)
    right = ((TRUTH + 1) * 127.5).round().astype(np.uint8)
    assert judged(right, reference)
    right[2, 3, 4, 1] += 1
    assert not judged(right, reference)


@cache
def results() -> dict[str, Array]:
    """The narrow model in float32, with sums in another order, and in float64."""
    model = narrow(NAME, ch=8)
    exact = in_float64(model)
    video = golden_video(9, 16, 16)
    return {
        "reference": run(model, video),
        "other order": run(other_order(), video),
        "exact": run(exact, video.double()),
    }


def run(model: Any, video: Tensor) -> Array:
    with torch.inference_mode():
        values: Array = WIDE * model.encode(video).encoded.numpy()
        return values


def other_order() -> Any:
    """The same model in float32, its 3-D convolutions tap by tap."""
    return in_float64(narrow(NAME, ch=8)).float()


def compared(got: Array) -> Any:
    found = results()
    return compare_floats("encode", got, found["reference"], lambda: found["exact"])


def test_a_model_with_its_sums_in_another_order_passes() -> None:
    comparison = compared(results()["other order"])
    assert comparison.limit == MULTIPLE, "the test shows nothing where the plain limit holds"
    assert comparison, str(comparison)


@pytest.mark.parametrize(
    "key",
    [
        "encoder.conv_in.conv.weight",
        "encoder.down.1.block.0.conv1.weight",
        "encoder.down_temporal.1.downsample.mix_factor",
        "encoder.conv_out.conv.weight",
    ],
)
def test_a_relative_fault_of_1e_4_in_one_layer_fails(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounding, "CEILING", float("inf"))  # the multiple alone sees it
    broken = deepcopy(narrow(NAME, ch=8))
    broken.state_dict()[key].mul_(1 + 1e-4)
    comparison = compared(run(broken, golden_video(9, 16, 16)))
    assert comparison.limit == MULTIPLE and not comparison, str(comparison)


@pytest.mark.parametrize("name", [NAME, "vidtok_kl_noncausal_488_4chn"])
def test_float64_frame_by_frame_is_the_same_model(name: str) -> None:
    model = narrow(name, ch=4)
    video = golden_video(8, 16, 16).double()
    with torch.inference_mode():
        plain = deepcopy(model).double()
        latents = plain.encode(video)
        again = in_float64(model)
        torch.testing.assert_close(again.encode(video).encoded, latents.encoded, rtol=0, atol=1e-12)
        torch.testing.assert_close(
            again.decode(latents.latent.double()),
            plain.decode(latents.latent.double()),
            rtol=0,
            atol=1e-12,
        )
    assert next(model.parameters()).dtype == torch.float32
