"""The reference agrees with the original implementation on every golden number."""

from dataclasses import replace

import pytest
import torch
from narrow import GOLDENS, Golden, golden_arrays, golden_shapes, golden_video, narrow
from torch import Tensor

from vidtok_edge.variants import EMBEDDED, VARIANTS
from vidtok_edge.vidtok_ref import Latents, load_weights
from vidtok_edge.vidtok_ref.checkpoint import shapes_of
from vidtok_edge.vidtok_ref.regularizer import codes_from_tokens, fsq, fsq_bound, kl

LIMIT = 2e-5  # max abs, float32 against the original in float64
PUBLISHED = [name for name in VARIANTS if name != EMBEDDED.name]
LEVELS = [(8,) * 4, (8,) * 5, (8,) * 6, (8, 5, 7, 6, 3, 2)]


@pytest.fixture(params=GOLDENS, ids=lambda golden: golden.name)
def golden(request: pytest.FixtureRequest) -> Golden:
    assert isinstance(request.param, Golden)
    return request.param


def near(got: Tensor, want: Tensor) -> None:
    assert got.shape == want.shape
    assert float((got - want).abs().max()) <= LIMIT


def encoded(golden: Golden) -> Latents:
    video = golden_video(golden.frames, golden.height, golden.width)
    return narrow(golden.name).encode(video)


def test_all_23_published_variants_are_known() -> None:
    assert len(PUBLISHED) == 23
    assert len(GOLDENS) == 17


@pytest.mark.parametrize("name", PUBLISHED)
def test_keys_and_shapes_are_the_official_ones(name: str) -> None:
    assert shapes_of(VARIANTS[name]) == golden_shapes(name)


def test_latents(golden: Golden) -> None:
    latents, want = encoded(golden), golden.arrays()
    near(latents.encoded, want["z_enc"])
    near(latents.latent, want["z_reg"])
    if "indices" in want:
        assert latents.tokens is not None and latents.tokens.dtype == torch.int32
        assert torch.equal(latents.tokens, want["indices"])
        assert latents.logvar is None
    else:
        assert latents.logvar is not None and latents.tokens is None
        near(latents.logvar, want["logvar"])


def test_reconstruction(golden: Golden) -> None:
    want = golden.arrays()
    model = narrow(golden.name)
    video = model.decode(want["z_reg"])[:, :, -golden.frames :]
    near(video, want["rec"])
    if "indices" in want:
        near(model.decode_tokens(want["indices"])[:, :, -golden.frames :], want["rec"])


def test_lengths_that_fill_no_window(golden: Golden) -> None:
    video = golden_video(golden.frames, golden.height, golden.width)
    for key, want in golden.arrays().items():
        if key.startswith("z_enc_T"):
            frames = int(key.removeprefix("z_enc_T"))
            near(narrow(golden.name).encode(video[:, :, :frames]).encoded, want)


@pytest.mark.parametrize("name", [g.name for g in GOLDENS if VARIANTS[g.name].version == "1.1"])
def test_33_frames_of_version_1_1(name: str) -> None:
    want = {key: torch.from_numpy(a) for key, a in golden_arrays(name).items()}
    latents = narrow(name).encode(golden_video(33, 16, 32))
    near(latents.encoded, want["z33_full"])
    near(latents.latent, want["z33_reg"])
    near(narrow(name).decode(want["z33_reg"]), want["rec33_full"])


@pytest.mark.parametrize("levels", LEVELS, ids=str)
def test_fsq(levels: tuple[int, ...]) -> None:
    stem = "L" + "".join(map(str, levels))
    arrays = {key: torch.from_numpy(a) for key, a in golden_arrays("regularizers").items()}
    z = arrays[f"{stem}_z"]
    near(fsq_bound(z, levels), arrays[f"{stem}_bound"].movedim(-1, 1))
    codes, tokens = fsq(z, levels)
    assert torch.equal(codes, arrays[f"{stem}_codes"])
    assert torch.equal(tokens, arrays[f"{stem}_indices"])
    assert torch.equal(codes_from_tokens(tokens, levels), codes)


def test_kl() -> None:
    arrays = {key: torch.from_numpy(a) for key, a in golden_arrays("regularizers").items()}
    mean, logvar = kl(arrays["kl_params"], generator=None)
    near(mean, arrays["kl_mean"])
    near(logvar, arrays["kl_logvar"])
    assert torch.allclose(torch.exp(0.5 * logvar), arrays["kl_std"], rtol=1e-6)


def test_the_embedded_tokenizer() -> None:
    arrays = {key: torch.from_numpy(a) for key, a in golden_arrays("embedded").items()}
    video = (arrays["frames"].float() / 127.5 - 1.0).permute(3, 0, 1, 2)[None]
    model, _ = load_weights("fsq", None)
    latents = model.encode(video)
    assert latents.tokens is not None
    near(latents.encoded, arrays["encoded"])
    assert torch.equal(latents.tokens, arrays["tokens"])
    near(model.decode_tokens(arrays["tokens"]), arrays["reconstruction"])


def test_a_narrow_copy_keeps_the_variant() -> None:
    name = GOLDENS[0].name
    assert narrow(name).variant == replace(VARIANTS[name], ch=32)
