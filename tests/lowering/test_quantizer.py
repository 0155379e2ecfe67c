"""FSQ in step modules: levels to tokens and back, for codebooks of any size up to 2^31."""

from __future__ import annotations

import itertools
from math import prod
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from vidtok_edge.export.graphs.graph import write_unchecked_graph
from vidtok_edge.lowering.interface import Interface
from vidtok_edge.lowering.quantizer import codes_from_tokens, tokens_from_latents
from vidtok_edge.runtime.manifest.graph_file import check_graph_file
from vidtok_edge.runtime.manifest.graphs import TensorSpec
from vidtok_edge.variants import levels_fault
from vidtok_edge.vidtok_ref import regularizer

LEVELS = [
    (2,),
    (3, 3),
    (8, 8, 8, 5, 5, 5),
    (512, 128, 128),  # 2^23, the most that float32 counts by halves
    (513, 128, 128),
    (1000, 1000, 999),
    (3,) * 19,
    (2,) * 31,
    (8,) * 8,
]


def some_tokens(levels: tuple[int, ...]) -> torch.Tensor:
    """int32 [1, 1, 4, 256]: the least and the largest, and any between."""
    size = prod(levels)
    tokens = np.random.default_rng(0).integers(0, size, 1024)
    ends = np.arange(min(size, 200))
    tokens[: len(ends)], tokens[-len(ends) :] = ends, size - 1 - ends
    return torch.from_numpy(tokens.astype(np.int32)).reshape(1, 1, 4, 256)


def latents_of(tokens: torch.Tensor, levels: tuple[int, ...]) -> torch.Tensor:
    """[B, t, z, h, w] in the middle of the levels that `tokens` stand for."""
    digits, rest = [], tokens.to(torch.int64)
    for n in levels:
        digits.append(rest % n - n // 2)
        rest = rest // n
    rows = []
    for n, digit in zip(levels, digits, strict=True):
        half, offset = (n - 1) * (1 + 1e-3) / 2, 0.0 if n % 2 else 0.5
        rows.append(torch.atanh((digit + offset) / half) - np.arctanh(offset / half))
    return torch.stack(rows, dim=2).float()


@pytest.mark.parametrize("levels", LEVELS, ids=str)
def test_codes_and_tokens_are_the_references(levels: tuple[int, ...]) -> None:
    tokens = some_tokens(levels)
    codes = codes_from_tokens(tokens, levels)
    assert torch.equal(codes.transpose(1, 2), regularizer.codes_from_tokens(tokens, levels))
    latents = latents_of(tokens, levels)
    assert torch.equal(tokens_from_latents(latents, levels), tokens)


class _Both(torch.nn.Module):
    """Latents to tokens, and other tokens to codes."""

    def __init__(self, levels: tuple[int, ...]) -> None:
        super().__init__()
        self.levels = levels

    def forward(self, z: torch.Tensor, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return tokens_from_latents(z, self.levels), codes_from_tokens(tokens, self.levels)


@pytest.mark.parametrize("levels", [(512, 128, 128), (513, 128, 128), (2,) * 31], ids=str)
def test_a_graph_counts_them_too(levels: tuple[int, ...], tmp_path: Path) -> None:
    tokens = some_tokens(levels)
    latents = latents_of(tokens, levels)
    one, many = tuple(tokens.shape), tuple(latents.shape)
    interface = Interface(
        inputs=(TensorSpec("z", "float32", many), TensorSpec("tokens", "int32", one)),
        outputs=(TensorSpec("found", "int32", one), TensorSpec("codes", "float32", many)),
    )
    path = tmp_path / "both.onnx"
    write_unchecked_graph(_Both(levels), interface, path)
    check_graph_file(path, path.name + ".data")  # only operators that a bundle may have
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found, codes = session.run(None, {"z": latents.numpy(), "tokens": tokens.numpy()})
    assert np.array_equal(found, tokens.numpy())
    assert np.array_equal(codes, codes_from_tokens(tokens, levels).numpy())


def test_every_token_of_a_small_codebook_has_a_code_of_its_own() -> None:
    levels = (3, 2, 4)
    tokens = torch.arange(prod(levels), dtype=torch.int32).reshape(1, 1, 1, -1)
    codes = {tuple(row) for row in codes_from_tokens(tokens, levels)[0, 0, :, 0].T.tolist()}
    values = [[(digit - n // 2) / (n // 2) for digit in range(n)] for n in levels]
    assert codes == set(itertools.product(*values))


def test_what_saturates_has_the_least_and_the_largest_level() -> None:
    for n in range(2, 1100):
        low, high = (torch.full((1, 1, 1, 1, 1), value) for value in (-50.0, 50.0))
        found = [int(tokens_from_latents(z, (n,))) for z in (low, high)]
        assert found == [0, n - 1] or levels_fault((n,)), n
