"""How many latents a state forgets nothing of: the reach of a step graph, from its caches alone."""

from __future__ import annotations

from vidtok_edge.runtime.manifest.graphs import CALL_BEFORE, GraphSpec
from vidtok_edge.runtime.manifest.model import ModelFacts

__all__ = ["reach_in_latents"]


def reach_in_latents(graph: GraphSpec, model: ModelFacts) -> int | None:
    """How many calls of one latent later what goes into a call still changes what comes out.

    An encoder with reach 28 gives latents 0 to 28 that depend on the frames of latent 0, and none
    behind them (docs/streaming.md, section 1.2); a decoder's counts the frames as it puts them
    out, late as they are. So a stream of one latent more runs through every state there is.

    None where the manifest does not say which layer reads which cache, or nothing is carried.
    """
    if not graph.cache_layers:
        return None
    # The last frame that the first latent's frames change, in frames of the layer at hand: each
    # layer that looks back carries it further. Shortcuts look back less far than what they skip.
    last = model.time_factor - 1 if graph.kind == "encoder" else 0
    for (cache, _), layer in zip(graph.caches, graph.cache_layers, strict=True):
        if layer == CALL_BEFORE:
            continue
        kept = cache.shape[2 if graph.form == "conv3d" else 1]
        if layer.endswith(".downsample"):  # kernel 3, stride 2
            last = (last + 1) // 2
        elif layer.endswith((".upsample", ".upsample.conv")) and kept == 1:
            # Linear: two frames of this one and the one before; or nearest, folded into kernel 3.
            last = 2 * last + 3
        else:
            last += kept
    return last if graph.kind == "encoder" else last // model.time_factor
