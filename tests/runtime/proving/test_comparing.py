"""Limits of each precision, and where what falls below them is said to differ first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_golden import write_tiny_golden

from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.manifest.graphs import Kind, Precision
from vidtok_edge.runtime.manifest.manifest import Manifest
from vidtok_edge.runtime.proving.comparing import (
    BEST_DB,
    Comparison,
    Limit,
    Metric,
    limit_of,
    pooled,
    scores,
)
from vidtok_edge.runtime.proving.golden import GoldenStream
from vidtok_edge.runtime.proving.running import Run

SIDE = 10
"""Of the grid: 100 tokens in each latent, 600 in all."""


@pytest.fixture
def golden(tiny: Path) -> GoldenStream:
    """Six latents of 10x10 tokens, far from any boundary; pictures are those of the tiny bundle."""
    made = write_tiny_golden(tiny)
    latents = np.arange(6 * SIDE * SIDE, dtype=np.int32).reshape(6, SIDE, SIDE)
    return replace(made, latents=latents, margin=np.full(latents.shape, 255, np.uint8))


@pytest.fixture
def manifest(tiny: Path) -> Manifest:
    """Of the tiny bundle, with one slot."""
    return replace(Bundle.load(tiny).manifest, streams=1)


def compared(
    golden: GoldenStream,
    manifest: Manifest,
    items: list[Any],
    limit: Limit,
    given: tuple[float, ...] = (),
    kind: Kind = "encoder",
) -> Comparison:
    run = Run(items=items, digests={0: ["same"] * len(items)}, again=["same"])
    return Comparison(
        golden=golden, manifest=manifest, kind=kind, run=run, limit=limit, given=given
    )


def with_flips(golden: GoldenStream, *flips: int) -> list[Any]:
    """The golden latents with so many other tokens in each."""
    items = [latent.copy() for latent in golden.latents]
    for item, count in zip(items, flips, strict=True):
        item.reshape(-1)[:count] += 1
    return items


@pytest.mark.parametrize(
    ("precision", "metric", "given", "least"),
    [
        ("fp32", "tokens", (), 0.999),
        ("fp32", "dB", (), 50.0),
        ("fp16", "tokens", (1.0, 0.999), 0.99),
        ("fp16", "tokens", (0.98, 0.99), 0.98),
        ("fp16", "dB", (60.0,), 40.0),
        ("fp16", "dB", (38.0, 38.0), 37.0),
        ("int8", "tokens", (0.9, 0.92), 0.86),
        ("int8", "tokens", (1.0,), 0.95),
        ("int8", "dB", (39.0, 39.0), 37.0),
        ("int8", "dB", (BEST_DB,), 40.0),
    ],
)
def test_limits(
    precision: Precision, metric: Metric, given: tuple[float, ...], least: float
) -> None:
    assert limit_of(precision, metric, given).least == pytest.approx(least)


def test_decibels_are_of_the_mean_of_the_errors() -> None:
    assert pooled("dB", [30.0, 30.0]) == pytest.approx(30)
    assert pooled("dB", [BEST_DB, 20.0]) == pytest.approx(20 + 10 * np.log10(2), abs=1e-3)
    assert pooled("tokens", [1.0, 0.5]) == 0.75


def test_what_is_no_number_is_the_worst_there_is(golden: GoldenStream) -> None:
    means = replace(golden, latents=np.ones((2, 4, 2, 2), np.float32), margin=None)
    items = [np.full((4, 2, 2), value, np.float32) for value in (np.nan, 1.1)]
    assert scores(means, "encoder", items) == [-BEST_DB, pytest.approx(20, abs=1e-4)]
    assert scores(means, "encoder", [np.ones((4, 2, 2), np.float32)]) == [BEST_DB]


def test_the_first_token_that_lies_far_from_a_boundary_is_named(
    golden: GoldenStream, manifest: Manifest
) -> None:
    limit = limit_of("fp32", "tokens", ())
    assert compared(golden, manifest, with_flips(golden, *[0] * 6), limit).differences() == []
    [far] = compared(golden, manifest, with_flips(golden, 0, 0, 1, 0, 0, 0), limit).differences()
    assert far.latent == 2
    assert far.text == (
        "encoder, latent 2 (steady state): 1 of 100 tokens are not the reference's, which lie up "
        "to 0.50 levels from a boundary; allowed are 0.01"
    )


def test_tokens_near_a_boundary_may_differ_but_few(
    golden: GoldenStream, manifest: Manifest
) -> None:
    near = replace(golden, margin=np.full(golden.latents.shape, 5, np.uint8))
    limit = limit_of("fp32", "tokens", ())
    two, three = (with_flips(near, 0, n, 0, 0, 0, 0) for n in (2, 3))
    assert compared(near, manifest, two, limit).differences() == []
    [few] = compared(near, manifest, three, limit).differences()
    assert (few.latent, few.kind) == (1, "encoder")
    assert "97.0% of the tokens are the reference's; of all 99.50%" in few.text


def test_int8_is_held_to_what_it_gave_and_the_rest_less_strictly(
    golden: GoldenStream, manifest: Manifest
) -> None:
    given = (0.9, 0.9, 0.8)
    limit = limit_of("int8", "tokens", given)
    assert limit.least == pytest.approx(0.8167, abs=1e-3)

    def texts(*flips: int) -> list[str]:
        found = compared(golden, manifest, with_flips(golden, *flips), limit, given).differences()
        return [difference.text for difference in found]

    assert texts(10, 10, 20, 0, 0, 0) == []
    assert texts(10, 10, 20, 22, 22, 22) == [], "what the export did not stream: 5 points more"
    [rest] = texts(10, 10, 20, 25, 25, 25)
    assert rest.startswith("encoder, latent 3 (steady state): 75.0% of the tokens")
    [first] = texts(10, 40, 20, 0, 0, 0)
    assert first.startswith("encoder, latent 1 (steady state): 60.0% of the tokens")
    [tail] = texts(10, 10, 20, 0, 0, 90)
    assert tail.startswith("encoder, latent 5 (tail): 10.0% of the tokens")


def test_pictures_are_named_with_their_latent(golden: GoldenStream, manifest: Manifest) -> None:
    items = list(golden.samples.copy())
    limit = limit_of("fp32", "dB", ())
    assert compared(golden, manifest, items, limit, kind="decoder").differences() == []
    items[18] = items[18] ^ 64
    [one] = compared(golden, manifest, items, limit, kind="decoder").differences()
    assert one.text.startswith("decoder, picture 18 of latent 5 (after the cut): 12.0 dB; over all")
    [fewer] = compared(golden, manifest, items[:-1], limit, kind="decoder").differences()
    assert fewer.text == "decoder: 28 pictures came out, expected 29"


def test_a_second_run_and_slots_are_compared_bit_for_bit(
    golden: GoldenStream, manifest: Manifest
) -> None:
    limit = limit_of("fp32", "tokens", ())
    two = replace(manifest, streams=2)
    right = compared(golden, two, with_flips(golden, *[0] * 6), limit)
    right.run.digests[1] = ["same"] * 6
    assert right.differences() == [] and right.slots_equal and right.runs_equal
    right.run.digests[1][4:] = ["other"] * 2
    right.run.again[:] = ["same", "other"]
    again, slot = right.differences()
    assert again.text.startswith("encoder, latent 1 (steady state, second run): a second run")
    assert slot.text.startswith("encoder, latent 4 (after the cut, slot 1 after its reset): slot 1")
    assert not right.runs_equal and not right.slots_equal
    del right.run.digests[1][3:]
    assert right.differences()[1].latent == 3, "one that is missing differs"
