"""The same tensor in the forms of two graphs: brought to one order of axes, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.runtime.manifest.graphs import FormName

__all__ = ["from_home", "moved"]

_HOME = {"conv2d": (0, 1, 2, 3, 4), "conv3d": (0, 2, 1, 3, 4), "channels_last": (0, 1, 4, 2, 3)}
"""Where the axes of B T C H W lie in five axes of a form."""


def from_home(value: NDArray[Any], form: FormName, streams: int) -> NDArray[Any]:
    """A layer's tensor of `form`, [B, T, C, H, W]; one of other axes as it is.

    Args:
        value: five axes, or four whose first has the time of all streams.
        form: of its graph.
        streams: B.
    """
    if value.ndim == 4 and form != "conv3d" and value.shape[0] % streams == 0:
        value = value.reshape(streams, -1, *value.shape[1:])
    return value.transpose(_HOME[form]) if value.ndim == 5 else value


def moved(
    value: NDArray[Any],
    *,
    form: FormName,
    to: FormName,
    shape: tuple[int, ...],
    streams: int,
) -> NDArray[Any] | None:
    """A layer's tensor of a graph in `form` as one in the form `to` has it.

    Args:
        value: the tensor.
        form: of its graph.
        to: of the other one.
        shape: that it has there.
        streams: B.

    Returns None where it has no such shape: the layers do not correspond there.
    """
    if form != to:
        value = from_home(value, form, streams)
        if value.ndim == 5:
            value = value.transpose(np.argsort(_HOME[to]))
    if value.shape == shape:
        return value
    # Axes may be joined otherwise; what lies where does not change with that.
    same = value.size == int(np.prod(shape)) and value.shape[-1] == shape[-1]
    return value.reshape(shape) if same else None
