"""Muon: momentum, made orthogonal for each convolution.

Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024); the size of
a step is AdamW's (Liu et al., "Muon is scalable for LLM training", 2025, section 2.2).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["Muon"]

_ROUNDS = 5  # of the quintic Newton-Schulz iteration
_A, _B, _C = 3.4445, -4.7750, 2.0315


class Muon:
    """For weights of two dimensions or more, each taken as a matrix [out, everything else]."""

    def __init__(
        self, parameters: Sequence[nn.Parameter], *, momentum: float = 0.95, decay: float = 0.01
    ) -> None:
        self.parameters, self.momentum, self.decay = list(parameters), momentum, decay
        self.buffers = [torch.zeros_like(p) for p in self.parameters]
        self._of_shape: dict[tuple[int, int], list[int]] = {}
        for i, p in enumerate(self.parameters):
            self._of_shape.setdefault((p.shape[0], p[0].numel()), []).append(i)

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Change the parameters by their gradients; matrices of one shape go together."""
        gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in self.parameters]
        for buffer, gradient in zip(self.buffers, gradients, strict=True):
            buffer.lerp_(gradient, 1 - self.momentum)
        for (rows, columns), members in self._of_shape.items():
            mixed = [gradients[i].lerp(self.buffers[i], self.momentum) for i in members]
            stack = torch.stack([m.reshape(rows, columns) for m in mixed])
            updates = orthogonal(stack) * (0.2 * max(rows, columns) ** 0.5)
            for i, update in zip(members, updates, strict=True):
                p = self.parameters[i]
                p.mul_(1 - rate * self.decay).sub_(update.reshape(p.shape), alpha=rate)


def orthogonal(matrices: Tensor) -> Tensor:
    """[N, R, C], float32: the nearest matrices with singular values near 1."""
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x.to(torch.bfloat16 if x.is_cuda else torch.float32)
    x = x / (x.flatten(1).norm(dim=1)[:, None, None] + 1e-7)
    for _ in range(_ROUNDS):
        a = x @ x.mT
        x = _A * x + (_B * a + _C * a @ a) @ x
    made: Tensor = x.mT if tall else x
    return made.float()
