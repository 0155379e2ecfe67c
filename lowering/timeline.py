"""Where a step's convolutions get the frames before and after their chunk from.

`CausalTimeline` takes them from the caches and leaves new ones (docs/streaming.md, section 4);
`WindowTimeline` pads a whole window with zeros, as the non-causal models do
(docs/streaming.md, section 7).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from vidtok_edge.lowering.forms import Form
from vidtok_edge.lowering.kernels import Kernels

__all__ = ["CausalTimeline", "Timeline", "WindowTimeline"]


class Timeline(Protocol):
    """Gives an activation the neighbouring frames that a temporal kernel needs."""

    def extend(self, x: Tensor, before: int, after: int, kernels: Kernels | None = None) -> Tensor:
        """`x` with `before` frames in front and `after` behind, along the form's time axis.

        `x` is at home and has entered `kernels`, which say what a zero and a cache look like; None:
        plainly.
        """


class WindowTimeline:
    """A whole window of `batch` streams: zeros on both sides."""

    def __init__(self, form: Form, batch: int) -> None:
        self.form, self.batch = form, batch

    def extend(self, x: Tensor, before: int, after: int, kernels: Kernels | None = None) -> Tensor:
        axis, x = self.form.time_axis, self.form.to_frames(x, self.batch)
        zero = (kernels or _PLAIN).zero(x)
        frame = zero.expand(x.narrow(axis, 0, 1).shape)
        return torch.cat([frame] * before + [x] + [frame] * after, dim=axis)


class CausalTimeline:
    """One call of a stream: caches are consumed and left in the order of the convolutions.

    Args:
        form: in which activations are laid out.
        caches: the caches of the call before, slot on axis 0; None to make zeros of the right
            shape, which is how the shapes are found (`caches_in`).
        start: bool [B, 1], true for a slot whose stream begins with this call: its caches are not
            read.
        ready: bool [B, 1] or None, false for a slot that has no chunk: its caches are kept.
        repeat_first: v1.1: the past of a fresh stream is its first frame; v1.0: zeros.
    """

    def __init__(
        self,
        form: Form,
        caches: Sequence[Tensor] | None,
        start: Tensor,
        ready: Tensor | None,
        repeat_first: bool,
    ) -> None:
        self.form = form
        self.start, self.ready, self.repeat_first = start, ready, repeat_first
        self.caches_in: list[Tensor] = []
        self.caches_out: list[Tensor] = []
        self._given = None if caches is None else list(caches)

    def extend(self, x: Tensor, before: int, after: int, kernels: Kernels | None = None) -> Tensor:
        assert after == 0, "a causal convolution sees no future frame"
        kernels = kernels or _PLAIN
        axis, x = self.form.time_axis, self.form.to_frames(x, self.start.shape[0])
        first = x.narrow(axis, 0, 1)
        cache = self._next_cache(
            lambda: torch.zeros_like(torch.cat([kernels.store(first)] * before, axis))
        )
        fresh = first if self.repeat_first else kernels.zero(x)
        kept = kernels.load(cache)
        extended = torch.cat([self.past(x, fresh, kept), x], dim=axis)
        tail = self.tail(x, extended, before)
        self.caches_out.append(kernels.store(self._if_ready(tail, kept)))
        return extended

    def past(self, x: Tensor, fresh: Tensor, kept: Tensor) -> Tensor:
        """The frames before `x`: `fresh` where a stream starts, else `kept` by the cache."""
        # Selected, not multiplied: uninitialised memory may hold NaN, and 0 * NaN is NaN.
        return torch.where(_spread(self.start, x), fresh, kept)

    def tail(self, x: Tensor, extended: Tensor, before: int) -> Tensor:
        """The last `before` frames of `extended`, which ends in `x`: the next call's past."""
        axis = self.form.time_axis
        return extended.narrow(axis, x.shape[axis], before)

    def flag(self, new: Tensor) -> Tensor:
        """Carry a bool [B, 1] to the next call; returns the one that was carried here."""
        carried = self._next_cache(lambda: torch.zeros_like(new))
        self.caches_out.append(self._if_ready(new, carried))
        return torch.logical_and(carried, torch.logical_not(self.start))

    def _next_cache(self, zeros: Callable[[], Tensor]) -> Tensor:
        cache = zeros() if self._given is None else self._given[len(self.caches_in)]
        self.caches_in.append(cache)
        return cache

    def _if_ready(self, new: Tensor, old: Tensor) -> Tensor:
        return new if self.ready is None else _select(_spread(self.ready, new), new, old)


_PLAIN = Kernels([], torch.zeros(0))


def _select(condition: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    """torch.where; in logic for bool, which ONNX Runtime's Where does not take."""
    if yes.dtype != torch.bool:
        return torch.where(condition, yes, no)
    kept = torch.logical_and(torch.logical_not(condition), no)
    return torch.logical_or(torch.logical_and(condition, yes), kept)


def _spread(flag: Tensor, like: Tensor) -> Tensor:
    """[B, 1] to as many axes as `like`, for broadcasting."""
    return flag.reshape(-1, *[1] * (like.ndim - 1))
