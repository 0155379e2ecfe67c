"""The table of variants and how a name finds its row."""

from dataclasses import replace
from typing import Any

import pytest

from vidtok_edge.errors import UnknownVariant, UsageError
from vidtok_edge.variants import (
    EMBEDDED,
    SHORT_NAMES,
    VARIANTS,
    twins_of,
    variant_by_name,
    variant_named_in,
)


@pytest.mark.parametrize("name", VARIANTS)
def test_the_name_tells_the_facts(name: str) -> None:
    variant = VARIANTS[name]
    digits = name.split("causal_")[1].split("_")[0]
    factors = (variant.time_factor, variant.space_factor, variant.space_factor)
    assert "".join(map(str, factors)) == digits
    assert variant.name == name
    assert variant.causal == ("_causal_" in name)
    if variant.latent == "fsq":
        assert f"_{variant.codebook_size}" in name
        assert len(variant.levels) == variant.z_channels == variant.encoder_channels
    else:
        assert f"_{variant.z_channels}chn" in name
        assert variant.encoder_channels == 2 * variant.z_channels
        assert variant.codebook_size == 0 and variant.levels == ()


def test_short_names() -> None:
    for short, name in SHORT_NAMES.items():
        assert variant_by_name(short) is VARIANTS[name]
    assert variant_by_name(EMBEDDED.name) is EMBEDDED


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("vidtok_fsq_causal_488_32678", "vidtok_fsq_causal_488_32768"),
        ("kl_causal_488_4chn", "vidtok_kl_causal_488_4chn"),
        ("fqs", "fsq"),
        ("", "fsq or kl"),
        ("zzz", "fsq or kl"),
    ],
)
def test_an_unknown_name_gets_suggestions(typed: str, meant: str) -> None:
    with pytest.raises(UnknownVariant, match=f"Did you mean .*{meant}.*vidtok-edge variants"):
        variant_by_name(typed)


def test_promises() -> None:
    assert VARIANTS["vidtok_kl_noncausal_488_4chn"].promise.startswith("windows: no streaming")
    assert "late" not in VARIANTS["vidtok_kl_causal_488_4chn"].promise
    assert "7 frames late" in VARIANTS["vidtok_fsq_causal_888_32768_v1_1"].promise


def test_five_published_pairs_cannot_be_told_apart_by_their_weights() -> None:
    pairs = {frozenset({v.name, t.name}) for v in VARIANTS.values() for t in twins_of(v)}
    assert len(pairs) == 5
    for pair in pairs:
        old, new = sorted(pair)
        assert new == f"{old}_v1_1"


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("vidtok_kl_causal_488_4chn.ckpt", "vidtok_kl_causal_488_4chn"),
        ("vidtok_kl_causal_488_4chn_v1_1.ckpt", "vidtok_kl_causal_488_4chn_v1_1"),
        ("VidTok-KL-causal-488-4chn-v1.1-step 3.pt", "vidtok_kl_causal_488_4chn_v1_1"),
        ("mine_vidtok_kl_causal_488_16chn.safetensors", "vidtok_kl_causal_488_16chn"),
        ("weights.ckpt", None),
        ("vidtok_fsq_causal_488_32768x.ckpt", None),
    ],
)
def test_a_file_name_may_hold_a_variants(file: str, name: str | None) -> None:
    variant = variant_named_in(file)
    assert (variant.name if variant else None) == name


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"levels": (1, 8, 8, 8, 8)}, "allowed are from 2 to 1000"),
        ({"levels": (1001, 8, 8, 8, 8)}, "allowed are from 2 to 1000"),
        ({"levels": (1000,) * 5}, "allowed are up to"),
        ({"levels": (8, 8)}, "has 2 FSQ levels; fsq with 5 z_channels has 5"),
        ({"latent": "kl"}, "has 5 FSQ levels; kl with 5 z_channels has 0"),
        ({"ch": 0}, "ch 0.*1 or more"),
        ({"temporal_down": (0, 3)}, "temporal_down"),
        ({"spatial_up": (1, 2, 9)}, "spatial_up"),
        ({"spatial_down": (2, 1, 0)}, "in order"),
        ({"temporal_up": (1,)}, "does not go up"),
    ],
)
def test_facts_that_contradict_one_another_are_refused(
    changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence):
        replace(EMBEDDED, **changes).check()


@pytest.mark.parametrize("name", VARIANTS)
def test_what_is_published_is_no_contradiction(name: str) -> None:
    VARIANTS[name].check()
