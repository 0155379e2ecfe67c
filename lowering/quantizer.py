"""FSQ in a graph: tokens from what the encoder puts out, and the decoder's codes from tokens.

docs/model.md, section 4.1.
"""

from __future__ import annotations

from math import atanh, prod
from typing import Any

import torch
from onnxscript import opset20
from torch import Tensor

__all__ = [
    "QUANTIZER_TRANSLATIONS",
    "codes_from_tokens",
    "quantizer_rows",
    "tokens_from_latents",
]

_EXACT = 1 << 23
"""float32 has every half up to it: tokens of larger codebooks are counted in int32."""


def quantizer_rows(levels: tuple[int, ...]) -> list[list[float]]:
    """Of each level: shift, half, offset, middle and basis (docs/model.md, section 4.1)."""
    half = [(n - 1) * (1 + 1e-3) / 2 for n in levels]
    offset = [0.5 if n % 2 == 0 else 0.0 for n in levels]
    shift = [atanh(o / h) for o, h in zip(offset, half, strict=True)]
    basis = [1.0]
    for n in levels[:-1]:
        basis.append(basis[-1] * n)
    return [shift, half, offset, [float(n // 2) for n in levels], basis]


def tokens_from_latents(z: Tensor, levels: tuple[int, ...], held: Tensor | None = None) -> Tensor:
    """FSQ of `z` [B, t, z, h, w] to int32 [B, t, h, w]; the levels are found in float32.

    `held`: what `quantizer_rows` gives, on the device of `z`.
    """
    rows = quantizer_rows(levels)

    def row(number: int) -> Tensor:
        if held is None:
            values = torch.tensor(rows[number], dtype=torch.float32, device=z.device)
        else:
            values = held[number]
        return values.reshape(1, 1, -1, 1, 1)

    bound = torch.tanh(z + row(0)) * row(1)
    q = torch.round(bound - row(2))
    digits = q + row(3)
    if prod(levels) <= _EXACT:
        return (digits * row(4)).sum(dim=2).to(torch.int32)
    *others, tokens = digits.to(torch.int32).chunk(len(levels), dim=2)
    for n, digit in zip(reversed(levels[:-1]), reversed(others), strict=True):
        tokens = tokens * n + digit
    return tokens.squeeze(2)


def codes_from_tokens(tokens: Tensor, levels: tuple[int, ...]) -> Tensor:
    """Tokens int32 [B, t, h, w] to codes [B, t, z, h, w] (docs/model.md, section 4.1)."""
    if prod(levels) > _EXACT:
        return _codes_by_int32(tokens, levels)
    codes, rest = [], tokens.to(torch.float32)
    for n in levels:
        # The half keeps the division's rounding off the integers.
        above = torch.floor((rest + 0.5) / n)
        codes.append((rest - above * n - n // 2) / (n // 2))
        rest = above
    return torch.stack(codes, dim=2)


def _codes_by_int32(tokens: Tensor, levels: tuple[int, ...]) -> Tensor:
    codes, rest = [], tokens
    for n in levels:
        # On the device already: a Python number would come from the host's memory in every call.
        divisor = torch.full((), n, dtype=torch.int32, device=rest.device)
        above = whole_quotient(rest, divisor)
        codes.append((rest - above * n - n // 2).to(torch.float32) / (n // 2))
        rest = above
    return torch.stack(codes, dim=2)


@torch.library.custom_op("vidtok_edge::whole_quotient", mutates_args=())
def whole_quotient(x: Tensor, n: Tensor) -> Tensor:
    """`x` // `n`, int32, neither of them below 0. PyTorch's exporter would divide as float32."""
    return torch.div(x, n, rounding_mode="trunc")


@whole_quotient.register_fake
def _(x: Tensor, n: Tensor) -> Tensor:
    return torch.empty_like(x)


def _integer_division(x: Any, n: Any) -> Any:
    return opset20.Div(x, n)


QUANTIZER_TRANSLATIONS: dict[Any, Any] = {
    torch.ops.vidtok_edge.whole_quotient.default: _integer_division,
}
"""For `torch.onnx.export`."""
