"""The figures of a loss, on streams made by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from fake_step import fake_manifest
from numpy.typing import NDArray

from vidtok_edge.errors import UsageError
from vidtok_edge.export.verifying.loss import (
    DEFAULT_LIMITS,
    FLIP_EDGES,
    Limits,
    Loss,
    compare_loss,
    limits_with,
)
from vidtok_edge.export.verifying.lossy import Stream, loss_between
from vidtok_edge.runtime.manifest.manifest import Manifest

LEVELS = (8, 8, 8, 8, 8)


@pytest.fixture
def manifest() -> Manifest:
    manifest = fake_manifest()
    return replace(manifest, model=replace(manifest.model, levels=LEVELS, z_channels=5))


def stream(latents: int = 9, seed: int = 0) -> Stream:
    rng = np.random.default_rng(seed)
    return Stream(
        rng.integers(1, 7, (latents, 2, 2)).astype(np.int32),
        rng.normal(size=(latents, 5, 2, 2)).astype(np.float32),
        rng.integers(0, 256, (latents, 16, 16, 3), dtype=np.uint8),
    )


def loss_of(manifest: Manifest, got: Stream, exact: Stream | None = None) -> Loss:
    exact = exact or stream()
    return loss_between("int8", "robot", manifest, exact.frames, exact, got)


def test_nothing_is_lost_between_equal_streams(manifest: Manifest) -> None:
    loss = loss_of(manifest, stream())
    assert (loss.tokens_equal, loss.off_by_one, sum(loss.flips)) == (1, 0, 0)
    assert loss.psnr_db == math.inf and loss.drift_db == 0


def test_tokens_that_differ_are_told_apart(manifest: Manifest) -> None:
    """One level in one dimension, two levels in one, one level in two, by place value."""
    got = stream()
    assert got.tokens is not None
    flat = got.tokens.reshape(-1)
    flat[0] += 1
    flat[1] += 2
    flat[2] += 1 + 8
    flat[3] += 8**4
    loss = loss_of(manifest, got)
    assert loss.tokens_equal == pytest.approx(1 - 4 / 36)
    assert loss.off_by_one == pytest.approx(2 / 36)
    assert sum(loss.flips) == 4 and len(loss.flips) == len(FLIP_EDGES) - 1


def test_a_flip_is_counted_where_the_float_value_lay(manifest: Manifest) -> None:
    """At zero an even number of levels has the middle of a level; a huge value is far out."""
    exact, got = stream(), stream()
    assert got.tokens is not None
    got.tokens[0, 0, 0] += 1
    exact.encoded[0, :, 0, 0] = 0.0
    assert loss_of(manifest, got, exact).flips[-1] == 1


def spread(values: NDArray[np.float32], errors: list[float]) -> NDArray[np.float32]:
    """`values` with errors of this size, latent by latent."""
    return values + np.array(errors, np.float32).reshape(-1, 1, 1, 1)


def test_a_growing_error_is_drift(manifest: Manifest) -> None:
    exact = stream()
    growing = replace(exact, encoded=spread(exact.encoded, [0.1 * 2**i for i in range(9)]))
    level = replace(exact, encoded=spread(exact.encoded, [0.1] * 9))
    assert loss_of(manifest, growing, exact).drift_db == pytest.approx(36.1, abs=0.5)
    assert loss_of(manifest, level, exact).drift_db == pytest.approx(0, abs=0.1)
    broken = replace(exact, encoded=spread(exact.encoded, [0.1] * 8 + [math.nan]))
    assert loss_of(manifest, broken, exact).drift_db == math.inf


def test_few_latents_say_nothing_of_drift(manifest: Manifest) -> None:
    short = stream(8)
    loss = loss_of(manifest, short, short)
    assert loss.drift_db is None
    assert not [c for c in compare_loss(loss, Limits()) if "drift" in c.metric]


@pytest.mark.parametrize(
    ("limits", "failing"),
    [
        (Limits(), set()),
        (Limits(tokens_equal=0.95), {"share of equal tokens"}),
        (Limits(psnr_db=41.0), {"PSNR against fp32, dB"}),
        (Limits(loss_db=0.1), {"PSNR lost against the source, dB"}),
        (Limits(drift_db=0.5), {"drift, last third to first, dB"}),
        (Limits(tokens_equal=0.9, psnr_db=40.0, loss_db=0.3, drift_db=2.0), set()),
    ],
)
def test_each_limit_fails_by_itself(limits: Limits, failing: set[str]) -> None:
    loss = Loss(
        graphs="int8",
        clip="robot",
        tokens=100,
        tokens_equal=0.93,
        off_by_one=0.06,
        flips=(1, 2, 3, 4),
        psnr_db=40.5,
        source_psnr_db=24.0,
        source_ssim=0.7,
        loss_db=0.2,
        ssim_loss=0.01,
        drift_db=1.0,
    )
    found = list(compare_loss(loss, limits))
    assert {c.metric for c in found if not c} == failing
    assert "6.00% off by one level" in found[0].note and "<0.5 40%" in found[0].note


@pytest.mark.parametrize(
    ("tokens", "differ", "passes"),
    [(144, 4, True), (144, 5, False), (3, 3, True), (6144, 61, True), (6144, 62, False)],
)
def test_a_few_tokens_of_a_small_grid_may_differ(tokens: int, differ: int, passes: bool) -> None:
    """A hundredth of 6144 and 4 of 144; no more than a hundredth where that was asked for."""
    loss = Loss(
        graphs="fp16",
        clip="robot",
        tokens=tokens,
        tokens_equal=1 - differ / tokens,
        off_by_one=differ / tokens,
        flips=(differ, 0, 0, 0),
        psnr_db=50.0,
        source_psnr_db=24.0,
        source_ssim=0.7,
        loss_db=0.0,
        ssim_loss=0.0,
        drift_db=None,
    )
    assert all(compare_loss(loss, DEFAULT_LIMITS["fp16"])) == passes
    asked = limits_with(0.99, None, None)["fp16"]
    assert all(compare_loss(loss, asked)) == (differ / tokens <= 0.01)


@pytest.mark.parametrize("limits", [(90, None, None), (math.nan, None, None), (-0.1, None, None)])
def test_a_share_of_tokens_lies_between_none_and_all(limits: tuple[float, None, None]) -> None:
    with pytest.raises(UsageError, match=r"allowed: 0 to 1\. For 90 % write 0\.9"):
        limits_with(*limits)


@pytest.mark.parametrize("limits", [(None, math.nan, None), (None, None, math.inf)])
def test_limits_are_numbers(limits: tuple[None, float | None, float | None]) -> None:
    with pytest.raises(UsageError, match="allowed: a number"):
        limits_with(*limits)


@pytest.mark.parametrize("value", [math.nan])
def test_what_is_no_number_never_passes(value: float) -> None:
    loss = Loss(
        graphs="int8",
        clip="robot",
        tokens=None,
        tokens_equal=None,
        off_by_one=None,
        flips=(),
        psnr_db=value,
        source_psnr_db=24.0,
        source_ssim=0.7,
        loss_db=value,
        ssim_loss=0.01,
        drift_db=None,
    )
    assert not any(compare_loss(loss, Limits()))
