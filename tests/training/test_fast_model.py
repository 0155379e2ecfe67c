"""The fast model is the reference, in values and gradients."""

from __future__ import annotations

import pytest
import torch
from fast_model import FastModel
from golden_recipe import video
from torch import Tensor

from vidtok_edge.vidtok_ref import EMBEDDED, load_weights
from vidtok_edge.vidtok_ref.weights import model_from_state, random_state

CLIP = torch.from_numpy(video(9, 32, 48, batch=2))


def last(x: Tensor) -> Tensor:
    """[B, C, ...] with the channels last."""
    return x.movedim(1, -1)


@pytest.mark.parametrize("frames", [4, 5, 9])
def test_it_computes_what_the_reference_computes(frames: int) -> None:
    model, _ = load_weights("fsq", None)
    fast = FastModel(model)
    with torch.no_grad():
        want = model.encode(CLIP[:, :, :frames])
        codes = last(want.latent)
        assert torch.allclose(fast.encode(CLIP[:, :, :frames]), last(want.encoded), atol=1e-4)
        assert torch.allclose(fast.quantise(last(want.encoded)), codes, atol=1e-6)
        made, wanted = fast.decode(codes), last(model.decode(want.latent))
    assert torch.allclose(made[:, -frames:], wanted[:, -frames:], atol=1e-4)


def test_its_gradients_are_those_of_the_reference() -> None:
    model = model_from_state(EMBEDDED, random_state(EMBEDDED, 1)).requires_grad_(True)
    with torch.no_grad():
        latent = model.encode(CLIP[:1, :, :5]).latent

    def gradient(made: Tensor) -> Tensor:
        model.zero_grad(set_to_none=True)
        made.square().mean().backward()  # type: ignore[no-untyped-call]
        return torch.cat(
            [p.grad.flatten() for p in model.decoder.parameters() if p.grad is not None]
        )

    want = gradient(last(model.decode(latent)))
    got = gradient(FastModel(model).decode(last(latent)))
    assert got.shape == want.shape and want.norm() > 0
    assert float((got - want).norm() / want.norm()) < 1e-4


def test_the_gradient_passes_through_the_rounding() -> None:
    z = torch.linspace(-1, 1, 10).reshape(2, 5).requires_grad_(True)
    fast = FastModel(load_weights("fsq", None)[0])
    codes = fast.quantise(z)
    assert torch.equal((codes * fast.width).round(), (codes * fast.width).detach().round())
    codes.sum().backward()  # type: ignore[no-untyped-call]
    assert z.grad is not None and bool((z.grad > 0).all())


@pytest.mark.parametrize("name", ["vidtok_kl_causal_488_4chn", "vidtok_fsq_noncausal_488_262144"])
def test_another_kind_of_model_is_refused(name: str) -> None:
    from narrow import narrow

    variant = narrow(name).variant
    model = model_from_state(variant, random_state(variant))
    with pytest.raises(ValueError, match="no causal FSQ model"):
        FastModel(model)
