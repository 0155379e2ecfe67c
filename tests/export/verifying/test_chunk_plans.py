"""Streaming equals the whole clip, whatever the chunk plan: the promise, on lowered modules."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from export_helpers import (
    CAUSAL,
    LIMIT,
    NONCAUSAL,
    Lowered,
    decode_in_calls,
    distance,
    encode_in_calls,
    frames_from_video,
    lowered,
    values_from_model,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from narrow import golden_video, one_of_each_structure
from torch import Tensor

from vidtok_edge.lowering.forms import FORMS, FormName
from vidtok_edge.variants import VARIANTS

ONE_OF_EACH_KIND = [
    "vidtok_fsq_causal_488_4096",
    "vidtok_fsq_causal_488_32768_v1_1",
    "vidtok_fsq_causal_888_32768_v1_1",
    "vidtok_kl_causal_288_8chn",
    "vidtok_kl_causal_288_8chn_v1_1",
]
DELAYED = [name for name in CAUSAL if VARIANTS[name].delayed]
SPLITS_OF_FOUR = [[1, 1, 1, 1], [2, 2], [4], [1, 3], [3, 1], [1, 2, 1]]

plans = st.lists(st.integers(1, 4), min_size=1, max_size=6).filter(lambda plan: sum(plan) <= 6)
both_forms = pytest.mark.parametrize("form", list(FORMS))


def clip(steps: Lowered, latents: int, height: int = 16, width: int = 16) -> Tensor:
    return golden_video(steps.framing.first_frame(latents), height, width)


def encoding_error(steps: Lowered, video: Tensor, plan: Sequence[int]) -> float:
    """Max abs difference between a streamed and a whole-clip encode."""
    want = steps.model.encode(video)
    frames = frames_from_video(video, steps.framing)
    _, got = encode_in_calls(steps.encoder, frames, plan)
    if want.logvar is None:
        return distance(got, want.encoded)
    return distance(got, torch.cat([want.latent, want.logvar], dim=1))


def decoding_error(steps: Lowered, video: Tensor, plan: Sequence[int]) -> float:
    """Max abs difference between a streamed and a whole-clip decode of the same latents."""
    values = values_from_model(steps.model, video)
    got = decode_in_calls(steps.decoder, values, plan, steps.framing)
    whole = steps.model.decode(steps.model.encode(video).latent)
    return distance(got, whole[:, :, -video.shape[2] :])


@both_forms
@pytest.mark.parametrize("name", ONE_OF_EACH_KIND)
@settings(max_examples=6)
@given(plan=plans)
def test_encoding_does_not_depend_on_the_plan(name: str, form: FormName, plan: list[int]) -> None:
    steps = lowered(name, form)
    assert encoding_error(steps, clip(steps, sum(plan)), plan) <= LIMIT


@both_forms
@pytest.mark.parametrize("name", ONE_OF_EACH_KIND)
@settings(max_examples=6)
@given(plan=plans, dummies=st.integers(0, 3), end=st.integers(1, 3))
def test_decoding_does_not_depend_on_the_plan(
    name: str, form: FormName, plan: list[int], dummies: int, end: int
) -> None:
    """The stream ends inside its last call, with `dummies` latents to spare, or in one more."""
    steps = lowered(name, form)
    dummies = min(dummies, plan[-1] - 1)
    latents = sum(plan) - dummies
    if steps.framing.delayed and not dummies and latents > 1:
        plan = [*plan, end]
    assert decoding_error(steps, clip(steps, latents), plan) <= LIMIT


@both_forms
@pytest.mark.parametrize("name", one_of_each_structure(CAUSAL))
def test_every_kind_of_causal_variant_streams(name: str, form: FormName) -> None:
    steps = lowered(name, form)
    video = clip(steps, 4, 16, 32)
    assert encoding_error(steps, video, [1, 2, 1]) <= LIMIT
    assert decoding_error(steps, video, [1, 2, 2] if steps.framing.delayed else [1, 2, 1]) <= LIMIT


@both_forms
@pytest.mark.parametrize("name", one_of_each_structure(NONCAUSAL))
def test_every_kind_of_non_causal_variant_works_on_whole_windows(name: str, form: FormName) -> None:
    steps = lowered(name, form)
    video = golden_video(16, 16, 32)
    assert encoding_error(steps, video, [4]) <= LIMIT
    assert decoding_error(steps, video, [4]) <= LIMIT


@pytest.mark.parametrize("plan", SPLITS_OF_FOUR, ids=str)
@pytest.mark.parametrize("name", ONE_OF_EACH_KIND)
def test_every_split_of_four_latents(name: str, plan: list[int]) -> None:
    steps = lowered(name)
    video = clip(steps, 4)
    assert encoding_error(steps, video, plan) <= LIMIT
    end = [1] if steps.framing.delayed else []
    assert decoding_error(steps, video, plan + end) <= LIMIT


@both_forms
@pytest.mark.parametrize("name", ONE_OF_EACH_KIND)
@pytest.mark.parametrize("chunk", [1, 3])
def test_a_stream_of_one_latent(name: str, form: FormName, chunk: int) -> None:
    """Frame 0 alone, with and without dummies behind it; no call for the end."""
    steps = lowered(name, form)
    video = clip(steps, 1)
    assert video.shape[2] == 1
    assert encoding_error(steps, video, [1]) <= LIMIT
    assert decoding_error(steps, video, [chunk]) <= LIMIT


@pytest.mark.parametrize("position", range(4))
@pytest.mark.parametrize("name", DELAYED)
def test_the_end_lies_anywhere_in_a_call(name: str, position: int) -> None:
    steps = lowered(name)
    video = clip(steps, 4 + position)
    assert decoding_error(steps, video, [4, 4]) <= LIMIT


@pytest.mark.parametrize("name", DELAYED)
def test_the_delay_is_what_it_is_said_to_be(name: str) -> None:
    """Without its `end` call a stream lacks the last f - 1 frames and no other."""
    steps = lowered(name)
    f, video = steps.framing.time_factor, clip(steps, 3)
    values = values_from_model(steps.model, video)
    whole = steps.model.decode(steps.model.encode(video).latent)[:, :, -video.shape[2] :]
    got = decode_in_calls(steps.decoder, values, [1, 1, 1], steps.framing)
    assert got.shape[2] == video.shape[2] - (f - 1)
    assert distance(got, whole[:, :, : got.shape[2]]) <= LIMIT


@pytest.mark.parametrize("name", DELAYED)
def test_the_end_makes_a_difference(name: str) -> None:
    """Else the tests of the end would pass without it: a plain dummy spoils the last frames."""
    steps = lowered(name)
    video = clip(steps, 3)
    values = values_from_model(steps.model, video)
    ended = decode_in_calls(steps.decoder, values, [1, 1, 1, 1], steps.framing)
    plain = torch.cat([values, torch.zeros_like(values[:, :1])], dim=1)
    longer = decode_in_calls(steps.decoder, plain, [1, 1, 1, 1], steps.framing)
    frames = video.shape[2]
    assert distance(ended[:, :, -1:], longer[:, :, frames - 1 : frames]) > 100 * LIMIT


@both_forms
@pytest.mark.parametrize("name", [n for n in ONE_OF_EACH_KIND if not VARIANTS[n].delayed])
def test_version_1_0_begins_without_copies_where_the_length_allows(
    name: str, form: FormName
) -> None:
    """T a multiple of f: the first chunk is frames 0 .. f-1, and nothing is repeated."""
    steps = lowered(name, form)
    video = golden_video(3 * steps.framing.time_factor, 16, 16)
    want = steps.model.encode(video)
    _, got = encode_in_calls(steps.encoder, video.permute(0, 2, 3, 4, 1), [1, 2])
    z = steps.model.variant.z_channels
    assert distance(got[:, :z], want.encoded[:, :z]) <= LIMIT
