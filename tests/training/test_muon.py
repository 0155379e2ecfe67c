"""Steps of Muon."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from muon import Muon, orthogonal
from torch import nn


@given(rows=st.integers(1, 12), columns=st.integers(1, 12), seed=st.integers(0, 99))
def test_singular_values_come_near_one(rows: int, columns: int, seed: int) -> None:
    torch.manual_seed(seed)
    made = orthogonal(torch.randn(2, rows, columns))
    assert made.shape == (2, rows, columns)
    values = torch.linalg.svdvals(made)
    assert float(values.max()) < 1.3 and float(values[:, 0].min()) > 0.6


def test_a_matrix_keeps_its_directions() -> None:
    torch.manual_seed(0)
    u, _, v = torch.linalg.svd(torch.randn(6, 4), full_matrices=False)
    values = torch.tensor([4.0, 3.0, 2.0, 1.0])
    made = orthogonal((u * values @ v)[None])[0]
    turned = u.mT @ made @ v.mT
    assert float((turned - torch.diag(turned.diag())).abs().max()) < 1e-4


def test_it_finds_a_minimum() -> None:
    torch.manual_seed(0)
    wanted = torch.randn(8, 3, 3, 3)
    weight = nn.Parameter(torch.zeros_like(wanted))
    muon = Muon([weight], decay=0.0)
    losses = []
    for step in range(300):
        weight.grad = weight.detach() - wanted
        losses.append(float(weight.grad.square().mean()))
        muon.step(0.05 * (1 - step / 300))
    assert losses[-1] < 0.02 * losses[0]


def test_a_parameter_without_a_gradient_is_left_where_it_is() -> None:
    weight = nn.Parameter(torch.ones(2, 3))
    Muon([weight], decay=0.0).step(0.1)
    assert torch.equal(weight.detach(), torch.ones(2, 3))


def test_decay_makes_weights_smaller() -> None:
    weight = nn.Parameter(torch.ones(2, 3))
    Muon([weight], decay=0.5).step(0.1)
    assert float(weight.detach().mean()) == pytest.approx(0.95)
