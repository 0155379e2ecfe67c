"""Whether a difference of two float32 results is rounding: both are held against float64.

Float32 results of one model differ with the order of sums, and more so in wide and deep models. An
absolute limit fails such a graph, though it is as close to the truth as the reference is.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from vidtok_edge.export.verifying.comparison import Comparison
from vidtok_edge.vidtok_ref import VidTok

__all__ = ["CEILING", "FLOAT_LIMIT", "MULTIPLE", "compare_floats", "in_float64"]

FLOAT_LIMIT = 2e-5
"""Max abs difference of float32 outputs that passes as it is (design, "Numbers that must hold")."""
CEILING = 2e-4
"""Max abs difference beyond which nothing is rounding."""
MULTIPLE = 3.0
"""A graph's error against float64 is at most as many times the reference's own, RMS and maximum.

Graphs of narrow models have 0.9 to 1.3 times the reference's; a weight that is wrong by 1e-4 of
itself in any one of eight layers tried had 3.3 times its RMS or more.
"""

Array = NDArray[Any]


def compare_floats(
    what: str, got: Array, reference: Array, exact: Callable[[], Array]
) -> Comparison:
    """`got` against `reference`; beyond `FLOAT_LIMIT`, both against `exact`, which is float64.

    Of uint8 frames counts what is left after half a level of rounding; a difference of shapes is
    infinite.

    Args:
        what: the name of the comparison.
        got: of the graph, float32 or uint8 frames.
        reference: of the float32 model, same shape.
        exact: gives the float64 model's result; called only where it is needed.
    """
    note = "uint8: beyond rounding" if got.dtype == np.uint8 else ""
    if got.shape != reference.shape:
        distance, note = float("inf"), "shapes differ"
    else:
        distance = _greatest(_errors(got, reference))
    plain = Comparison(
        name=what, metric="max |difference|", value=distance, limit=FLOAT_LIMIT, note=note
    )
    # `not <=` rather than `>`: NaN is no rounding either.
    if distance <= FLOAT_LIMIT or not distance <= CEILING:
        return plain
    truth = exact()
    errors, own = _errors(got, truth), _errors(reference, truth)
    ratio = max(_ratio(_rms(errors), _rms(own)), _ratio(_greatest(errors), _greatest(own)))
    return Comparison(
        name=what,
        metric="error to float64, times the reference's",
        value=ratio,
        limit=MULTIPLE,
        note=f"max |difference| {distance:.1e}, of the reference to float64 {_greatest(own):.1e}",
    )


def _errors(a: Array, b: Array) -> Array:
    """float64 |a - b|; of frames as bytes, beyond half a level. In units of float frames."""
    if a.dtype != np.uint8:
        return np.abs(a.astype(np.float64) - b)
    levels = (b.clip(-1, 1).astype(np.float64) + 1) * 127.5
    return np.maximum(0.0, np.abs(a - levels) - 0.5) / 127.5


def _greatest(errors: Array) -> float:
    return float(errors.max())


def _rms(errors: Array) -> float:
    return float(np.sqrt(np.mean(errors * errors)))


def _ratio(error: float, own: float) -> float:
    if own:
        return error / own
    return float("inf") if error else 0.0


def in_float64(model: VidTok) -> VidTok:
    """A copy of `model` that computes in float64, its 3-D convolutions frame by frame.

    PyTorch unfolds the whole input of a float64 3-D convolution: 15 GB in a full model at 256x256.
    """
    copy = deepcopy(model).double()
    for module in list(copy.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Conv3d):
                setattr(module, name, _ByFrames(child))
    return copy


class _ByFrames(nn.Module):
    """A 3-D convolution as a sum of 2-D ones, one for each tap along time."""

    def __init__(self, conv: nn.Conv3d) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        conv = self.conv
        padding = [int(n) for n in conv.padding]
        x = F.pad(x, (0, 0, 0, 0, padding[0], padding[0]))
        stride = conv.stride[0]
        frames = (x.shape[2] - conv.kernel_size[0]) // stride + 1
        outputs = []
        for t in range(frames):
            window = x[:, :, t * stride :]
            parts = [
                F.conv2d(
                    window[:, :, tap],
                    conv.weight[:, :, tap],
                    None if tap else conv.bias,
                    conv.stride[1:],
                    padding[1:],
                )
                for tap in range(conv.kernel_size[0])
            ]
            outputs.append(torch.stack(parts).sum(dim=0))
        return torch.stack(outputs, dim=2)
