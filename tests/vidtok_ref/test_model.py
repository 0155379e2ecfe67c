"""What holds for every clip: lengths, causality, no state, and the errors of bad calls."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from narrow import golden_video, narrow
from torch import Tensor

from vidtok_edge.errors import UnsupportedSize, UsageError
from vidtok_edge.vidtok_ref import VidTok
from vidtok_edge.vidtok_ref.regularizer import codes_from_tokens, fsq

KL, KL_V1_1 = "vidtok_kl_causal_488_4chn", "vidtok_kl_causal_488_4chn_v1_1"
FSQ, FSQ_888 = "vidtok_fsq_causal_488_4096", "vidtok_fsq_causal_888_32768_v1_1"
NONCAUSAL = "vidtok_kl_noncausal_488_4chn"
CAUSAL = [
    KL,
    KL_V1_1,
    FSQ,
    FSQ_888,
    "vidtok_kl_causal_288_8chn",
    "vidtok_kl_causal_288_8chn_v1_1",
    "vidtok_kl_causal_444_4chn",
    "vidtok_fsq_causal_41616_262144_v1_1",
]
quick = settings(max_examples=25)


def thin(name: str) -> VidTok:
    """Wide enough for every layer to matter, thin enough for many examples."""
    return narrow(name, ch=4)


def latents_of(model: VidTok, frames: int) -> int:
    """Number of latents as docs/model.md, section 3.4 counts them."""
    f = model.variant.time_factor
    if not model.variant.causal:
        return frames // f
    if model.variant.version == "1.1":
        return math.ceil(frames / f)
    return frames // f if frames % f == 0 else (frames - 1) // f + 1


def padding_of(model: VidTok, frames: int) -> int:
    """Copies of the first frame that causal models put in front (docs/model.md, section 3.4)."""
    f = model.variant.time_factor
    if frames % f == 0:
        return 0
    return f - 1 if model.variant.version == "1.0" else f - frames % f


@pytest.mark.slow
@quick
@given(
    name=st.sampled_from([*CAUSAL, NONCAUSAL]),
    frames=st.integers(1, 21),
    height=st.integers(1, 2),
    width=st.integers(1, 3),
    batch=st.integers(1, 2),
)
def test_shapes(name: str, frames: int, height: int, width: int, batch: int) -> None:
    model = thin(name)
    variant = model.variant
    f, s = variant.time_factor, variant.space_factor
    frames = max(frames, 1 if variant.causal else f)
    latents = model.encode(golden_video(frames, height * s, width * s, batch))
    t = latents_of(model, frames)
    assert latents.encoded.shape == (batch, variant.encoder_channels, t, height, width)
    assert latents.latent.shape == (batch, variant.z_channels, t, height, width)
    dropped = f - 1 if variant.causal and variant.version == "1.0" else 0
    video = model.decode(latents.latent)
    assert video.shape == (batch, 3, f * t - dropped, height * s, width * s)


@pytest.mark.slow
@quick
@given(name=st.sampled_from(CAUSAL), frames=st.integers(2, 17), data=st.data())
def test_later_frames_leave_earlier_latents_alone(
    name: str, frames: int, data: st.DataObject
) -> None:
    model = thin(name)
    changed_from = data.draw(st.integers(1, frames - 1), label="changed_from")
    s, f = model.variant.space_factor, model.variant.time_factor
    video = golden_video(frames, s, s)
    other = video.clone()
    other[:, :, changed_from:] *= -0.5
    a, b = model.encode(video).encoded, model.encode(other).encoded
    same = min((changed_from + padding_of(model, frames)) // f, a.shape[2])
    assert torch.allclose(a[:, :, :same], b[:, :, :same], rtol=0, atol=1e-6)
    if same < a.shape[2]:  # the first latent whose window holds a changed frame
        assert not torch.allclose(a[:, :, same], b[:, :, same], rtol=0, atol=1e-4)


@pytest.mark.slow
@quick
@given(name=st.sampled_from(CAUSAL), latents=st.integers(2, 4), data=st.data())
def test_later_latents_leave_earlier_frames_alone(
    name: str, latents: int, data: st.DataObject
) -> None:
    model = thin(name)
    variant, f = model.variant, model.variant.time_factor
    changed_from = data.draw(st.integers(1, latents - 1), label="changed_from")
    z = golden_video(latents, 2, 2).repeat(1, 6, 1, 1, 1)[:, : variant.z_channels]
    other = z.clone()
    other[:, :, changed_from:] *= -0.5
    a, b = model.decode(z), model.decode(other)
    # Linear upsampling looks one frame ahead at each of its log2 f steps: f - 1 frames in all.
    # It never looks from latent 0 to latent 1, which are upsampled apart.
    ahead = f - 1 if variant.delayed and changed_from > 1 else 0
    kept = f * changed_from - (0 if variant.delayed else f - 1) - ahead
    assert torch.allclose(a[:, :, :kept], b[:, :, :kept], rtol=0, atol=1e-6)
    assert not torch.allclose(a[:, :, kept], b[:, :, kept], rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", [KL_V1_1, FSQ_888])
def test_the_frames_of_latent_0_are_all_alike_in_version_1_1(name: str) -> None:
    """Why a stream can give frame 0 at once: docs/streaming.md, section 5.4."""
    model = thin(name)
    f = model.variant.time_factor
    z = golden_video(3, 2, 2).repeat(1, 2, 1, 1, 1)[:, : model.variant.z_channels]
    video = model.decode(z)
    assert torch.allclose(video[:, :, :f], video[:, :, :1], rtol=0, atol=1e-6)
    assert not torch.allclose(video[:, :, f], video[:, :, 0], rtol=0, atol=1e-4)


@quick
@given(levels=st.lists(st.integers(2, 9), min_size=1, max_size=6).map(tuple), data=st.data())
def test_tokens_and_codes_are_inverse(levels: tuple[int, ...], data: st.DataObject) -> None:
    values = data.draw(st.lists(st.integers(0, math.prod(levels) - 1), min_size=6, max_size=6))
    tokens = torch.tensor(values, dtype=torch.int32).view(1, 1, 2, 3)
    codes = codes_from_tokens(tokens, levels)
    assert codes.dtype == torch.float32 and codes.shape == (1, len(levels), 1, 2, 3)
    assert float(codes.abs().max()) <= 1.0
    digits = [torch.round(codes[:, d] * (n // 2)).int() + n // 2 for d, n in enumerate(levels)]
    back = torch.zeros_like(tokens)
    for digit, n in zip(reversed(digits), reversed(levels), strict=True):
        assert int(digit.min()) >= 0 and int(digit.max()) < n
        back = back * n + digit
    assert torch.equal(back, tokens)


@quick
@given(levels=st.lists(st.integers(2, 9), min_size=1, max_size=6).map(tuple), seed=st.integers(0))
def test_every_latent_gets_a_valid_token(levels: tuple[int, ...], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed % 2**32)
    z = 3 * torch.randn(2, len(levels), 2, 3, 4, generator=generator)
    codes, tokens = fsq(z, levels)
    assert tokens.dtype == torch.int32 and tokens.shape == (2, 2, 3, 4)
    assert int(tokens.min()) >= 0 and int(tokens.max()) < math.prod(levels)
    assert torch.equal(codes_from_tokens(tokens, levels), codes)


@pytest.mark.parametrize("name", [FSQ, FSQ_888, KL_V1_1, NONCAUSAL])
def test_a_call_leaves_nothing_behind(name: str) -> None:
    model = thin(name)
    video = golden_video(9, 16, 16)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    first = model.encode(video)
    shown = model.decode(first.latent)
    model.encode(-video[:, :, :8])
    model.decode(-first.latent)
    assert torch.equal(model.encode(video).encoded, first.encoded)
    assert torch.equal(model.decode(first.latent), shown)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_clips_of_a_batch_do_not_meet() -> None:
    model, video = thin(KL), golden_video(9, 16, 16, batch=2)
    both = model.encode(video)
    for i in range(2):
        alone = model.encode(video[i : i + 1])
        assert torch.allclose(both.encoded[i : i + 1], alone.encoded, rtol=0, atol=1e-5)


def sampled(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return thin(KL).encode(golden_video(9, 16, 16), generator).latent


def test_kl_sampling_follows_its_generator() -> None:
    assert torch.equal(sampled(7), sampled(7))
    assert not torch.equal(sampled(7), sampled(8))


def test_kl_sampling_has_the_stated_spread() -> None:
    latents = thin(KL).encode(golden_video(9, 16, 16))
    assert latents.logvar is not None
    spread = torch.exp(0.5 * latents.logvar)
    noise = torch.stack([(sampled(seed) - latents.latent) / spread for seed in range(40)])
    assert abs(float(noise.mean())) < 0.1
    assert abs(float(noise.std()) - 1.0) < 0.1


@pytest.mark.parametrize(("height", "width"), [(15, 16), (16, 12), (0, 8), (4, 4)])
def test_a_size_off_the_grid_is_refused(height: int, width: int) -> None:
    with pytest.raises(UnsupportedSize, match=f"multiples of 8, got {height}x{width}.*Use "):
        thin(KL).encode(torch.zeros(1, 3, 5, height, width))


def test_the_suggested_sizes_work() -> None:
    with pytest.raises(UnsupportedSize, match="Use 16x8 or 24x16, or resize"):
        thin(KL).variant.check_size(17, 15)
    thin(KL).variant.check_size(16, 8)
    thin(KL).variant.check_size(24, 16)


def test_too_few_frames_are_refused() -> None:
    with pytest.raises(UnsupportedSize, match="at least 4 frame"):
        thin(NONCAUSAL).encode(torch.zeros(1, 3, 3, 8, 8))
    with pytest.raises(UnsupportedSize, match="at least 1 frame"):
        thin(KL).encode(torch.zeros(1, 3, 0, 8, 8))


@pytest.mark.parametrize("shape", [(1, 3, 8, 8), (1, 8, 8, 8, 3), (3, 5, 8, 8)])
def test_a_clip_in_another_order_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=r"Expected float video \[B, 3, T, H, W\].* got"):
        thin(KL).encode(torch.zeros(shape))


def test_a_clip_of_bytes_is_refused() -> None:
    with pytest.raises(UsageError, match=r"got torch\.uint8"):
        thin(KL).encode(torch.zeros(1, 3, 1, 8, 8, dtype=torch.uint8))


def test_no_latents_are_refused() -> None:
    with pytest.raises(UsageError, match="t of 1 or more"):
        thin(KL).decode(torch.zeros(1, 4, 0, 1, 1))


def test_tokens_of_a_small_type_decode_alike() -> None:
    tokens = torch.tensor([3, 200]).view(1, 2, 1, 1)
    small = thin(FSQ).decode_tokens(tokens.to(torch.uint8))
    assert torch.equal(small, thin(FSQ).decode_tokens(tokens.to(torch.int32)))


@pytest.mark.parametrize("tokens", [torch.zeros(1, 2), torch.zeros(1, 0, 1, 1).int()])
def test_what_are_no_tokens_is_refused(tokens: torch.Tensor) -> None:
    with pytest.raises(UsageError, match=r"Expected integer tokens \[B, t, h, w\]"):
        thin(FSQ).decode_tokens(tokens)


def test_latents_of_another_variant_are_refused() -> None:
    with pytest.raises(UsageError, match=r"Expected latents \[B, 4, t, h, w\]"):
        thin(KL).decode(torch.zeros(1, 5, 2, 1, 1))


def test_tokens_out_of_range_are_refused() -> None:
    with pytest.raises(UsageError, match="tokens 0 to 4095, got 0 to 4096"):
        thin(FSQ).decode_tokens(torch.tensor([0, 4096], dtype=torch.int32).view(1, 2, 1, 1))


def test_kl_has_no_tokens_and_fsq_no_samples() -> None:
    with pytest.raises(UsageError, match="is KL and has no tokens"):
        thin(KL).decode_tokens(torch.zeros(1, 1, 1, 1, dtype=torch.int32))
    with pytest.raises(UsageError, match="nothing to sample"):
        thin(FSQ).encode(golden_video(1, 8, 8), torch.Generator())
