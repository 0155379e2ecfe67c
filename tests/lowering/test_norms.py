"""A norm that is written as products with a matrix is LayerNorm."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from vidtok_edge.lowering.norms import FEW_CHANNELS, TurnedNorm


def both(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> list[torch.Tensor]:
    """What the norm gives, and LayerNorm in float64."""
    exact = F.layer_norm(x.double(), weight.shape, weight.double(), bias.double(), eps=1e-6).float()
    with torch.inference_mode():
        return [TurnedNorm(weight, bias)(x), exact]


@pytest.mark.parametrize("channels", [2, 3, 5, 8, FEW_CHANNELS])
@pytest.mark.parametrize(("scale", "mean"), [(1.0, 0.0), (30.0, 5.0), (1e-3, 0.0), (0.1, 10.0)])
def test_it_is_layer_norm(channels: int, scale: float, mean: float) -> None:
    """Also where epsilon counts, and where the mean is a hundred times the deviation."""
    torch.manual_seed(channels)
    x = torch.randn(2, 5, 7, channels) * scale + mean
    weight, bias = torch.randn(channels), torch.randn(channels)
    got, exact = both(x, weight, bias)
    error = 1e-6 * (1 + abs(mean) / scale) * channels**0.5
    torch.testing.assert_close(got, exact, rtol=0, atol=4 * error)


@pytest.mark.parametrize("value", [0.0, 0.5, -3.0])
def test_rows_of_one_value_become_the_bias(value: float) -> None:
    weight, bias = torch.randn(8), torch.randn(8)
    got, _ = both(torch.full((1, 2, 3, 8), value), weight, bias)
    torch.testing.assert_close(got, bias.expand_as(got), rtol=0, atol=1e-3 * abs(value) + 1e-7)
