"""Caches written and read otherwise than in the graphs that ship."""

from __future__ import annotations

from torch import Tensor

from vidtok_edge.lowering.timeline import CausalTimeline

__all__ = ["ChunkTail", "HostZeroed"]


class ChunkTail(CausalTimeline):
    """New caches are cut from the chunk where it is long enough, and do not wait for the past."""

    def tail(self, x: Tensor, extended: Tensor, before: int) -> Tensor:
        frames = x.shape[self.form.time_axis]
        if frames < before:
            return super().tail(x, extended, before)
        return x.narrow(self.form.time_axis, frames - before, before)


class HostZeroed(CausalTimeline):
    """The past is what the caches hold, whatever `start` says: a host zeroes them.

    The past of a fresh stream is zeros, as in v1.0. A v1.1 model repeats its first frame there,
    which a host cannot know: such a graph is for timing.
    """

    def past(self, x: Tensor, fresh: Tensor, kept: Tensor) -> Tensor:
        return kept
