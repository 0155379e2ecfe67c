"""The figures of a loss, on streams made by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from fake_step import fake_manifest
from numpy.typing import NDArray

from vidtok_edge.export.verifying.loss import FLIP_EDGES, Limits, Loss, compare_loss
from vidtok_edge.export.verifying.lossy import _loss, _Stream
from vidtok_edge.runtime.manifest.manifest import Manifest

LEVELS = (8, 8, 8, 8, 8)


@pytest.fixture
def manifest() -> Manifest:
    manifest = fake_manifest()
    return replace(manifest, model=replace(manifest.model, levels=LEVELS, z_channels=5))


def stream(latents: int = 9, seed: int = 0) -> _Stream:
    rng = np.random.default_rng(seed)
    return _Stream(
        rng.integers(1, 7, (latents, 2, 2)).astype(np.int32),
        rng.normal(size=(latents, 5, 2, 2)).astype(np.float32),
        rng.integers(0, 256, (latents, 16, 16, 3), dtype=np.uint8),
    )


def loss_of(manifest: Manifest, got: _Stream, exact: _Stream | None = None) -> Loss:
    exact = exact or stream()
    return _loss("int8", "robot", manifest, exact.frames, exact, got)


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
        (Limits(0.9, 40.0, 0.3, 2.0), set()),
    ],
)
def test_each_limit_fails_by_itself(limits: Limits, failing: set[str]) -> None:
    loss = Loss(
        graphs="int8",
        clip="robot",
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


@pytest.mark.parametrize("value", [math.nan])
def test_what_is_no_number_never_passes(value: float) -> None:
    loss = Loss(
        graphs="int8",
        clip="robot",
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
