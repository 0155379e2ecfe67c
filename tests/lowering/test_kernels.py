"""Kernels in INT8: what a cache holds is exact, and both placements compute the same."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor

from vidtok_edge.lowering import kernels as kernels_module
from vidtok_edge.lowering.affine import Affine, quantized_weight
from vidtok_edge.lowering.kernels import Grids, Kernels, Padding, PixelKernels, QuantizedKernels

ONE = Padding(1, 1, 1, 1)


@pytest.fixture
def kernels() -> Kernels:
    torch.manual_seed(0)
    return Kernels([torch.randn(4, 3, 3, 3), torch.randn(4, 3, 3, 3)], torch.randn(4))


def picture() -> Tensor:
    torch.manual_seed(1)
    return torch.rand(2, 3, 8, 8) * 2 - 1


def both(kernels: Kernels, *, int8: bool = True) -> list[QuantizedKernels]:
    """On one symmetric grid in signed and unsigned integers, for each placement; outputs fine."""
    scale = 1 / 127
    early = Grids(Affine(scale, 128, "uint8"), None, int8, early=True)
    late = Grids(Affine(scale, 0, "int8"), None, int8, early=False)
    return [QuantizedKernels(kernels, grids, torch.float32) for grids in (early, late)]


def through(kernels: Kernels, x: Tensor, padding: Padding = ONE, index: int = 0) -> Tensor:
    return kernels.leave(kernels.convolve(kernels.enter(x), padding, 1, index))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_bytes_of_pixels_come_back_exactly(kernels: Kernels, dtype: torch.dtype) -> None:
    pixels = PixelKernels(kernels).to(dtype)
    levels = torch.arange(256)
    x = (levels.float() / 127.5 - 1).to(dtype)
    stored = pixels.store(x)
    assert stored.dtype == torch.uint8
    assert torch.equal(stored.long(), levels)
    assert torch.equal(pixels.load(stored), x)


def test_a_store_that_is_loaded_and_stored_again_is_the_same(kernels: Kernels) -> None:
    for quantized in both(kernels):
        stored = quantized.store(quantized.enter(picture()))
        assert stored.element_size() == 1
        assert torch.equal(quantized.store(quantized.load(stored)), stored)


@pytest.mark.parametrize("padding", [ONE, Padding(bottom=1, right=1)])
@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("pairs", [False, True])
def test_both_placements_compute_the_same(
    kernels: Kernels,
    padding: Padding,
    index: int,
    pairs: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """But for the weights, which are coarser where `pairs` must not saturate."""
    if not pairs:
        plain = partial(quantized_weight, dtype=torch.float32)
        monkeypatch.setattr(kernels_module, "pair_safe_weight", plain)
    x = picture().clamp(-1, 1 - 1 / 127)
    early, late = (through(quantized, x, padding, index) for quantized in both(kernels))
    # The bias is an integer in one of them.
    assert torch.allclose(early, late, atol=0.3 if pairs else 0.03)
    exact = through(kernels, x, padding, index)
    assert 10 * torch.log10(exact.var() / (early - exact).var()) > 30  # dB
    assert (early - exact).abs().max() < 0.3


def test_a_kernel_that_stays_in_floating_point_is_exact_on_its_grid(kernels: Kernels) -> None:
    on_grid = (picture() * 127).round() / 127
    exact = through(kernels, on_grid)
    for quantized in both(kernels, int8=False):
        assert torch.allclose(through(quantized, on_grid), exact, atol=1e-5)


def test_zero_is_zero_in_either_domain(kernels: Kernels) -> None:
    for quantized in both(kernels):
        entered = quantized.enter(picture())
        nothing = quantized.zero(entered).expand(entered.shape)
        assert nothing.dtype == entered.dtype
        assert torch.equal(
            quantized.convolve(nothing, ONE, 1),
            quantized.convolve(quantized.enter(torch.zeros_like(picture())), ONE, 1),
        )


def test_an_output_grid_rounds_the_output(kernels: Kernels) -> None:
    grids = Grids(Affine.asymmetric(-1, 1), Affine.asymmetric(-20, 20), int8=True, early=True)
    quantized = QuantizedKernels(kernels, grids, torch.float32)
    assert quantized.convolve(quantized.enter(picture()), ONE, 1).dtype == torch.uint8
    values = through(quantized, picture())
    assert len(set(values.flatten().tolist())) <= 256
