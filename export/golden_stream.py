"""The golden stream of a bundle: made once, by the reference, for devices to prove themselves with.

The reference is the FP32 graphs on ONNX Runtime's CPU provider, which the verification has held to
the PyTorch model; without them its lowered steps in PyTorch.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from math import prod

import numpy as np

from vidtok_edge import __version__
from vidtok_edge.export.verifying.step_pair import StepPair, open_pair
from vidtok_edge.export.verifying.whole_clip import margin_of
from vidtok_edge.hashes import sha256_of_parts
from vidtok_edge.lowering.facts import BOTH_FP32, options_of
from vidtok_edge.lowering.torch_step import TorchStreams
from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.backends.backend import Backend
from vidtok_edge.runtime.backends.step import Step
from vidtok_edge.runtime.manifest.graphs import KINDS, Placement, Precision
from vidtok_edge.runtime.manifest.manifest import Manifest
from vidtok_edge.runtime.manifest.reach import reach_in_latents
from vidtok_edge.runtime.proving.comparing import scores
from vidtok_edge.runtime.proving.golden import (
    SCHEMA,
    Given,
    GoldenFacts,
    GoldenStream,
    golden_frames,
    margin_bytes,
)
from vidtok_edge.runtime.proving.running import decoded, encoded
from vidtok_edge.runtime.proving.scenes import RECIPE
from vidtok_edge.runtime.streaming.framing import Framing
from vidtok_edge.vidtok_ref import VidTok

__all__ = ["Budget", "StreamPlan", "given_by", "make_golden", "plan_stream", "reference_stream"]

_SMALL = 64 << 20
"""Bytes of a half's weights: below, a step runs in one thread. Two took 2.5 times as long on two
cores of which another process had one, and many gain little; the pictures' bits are then the same
whatever the machine has."""
_MOST_BYTES = 400_000
"""Of all latents, stored; where a reach of them is more, the stream is shorter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How long a golden stream may take to make, in seconds on this machine.

    Where steps are slower than that it is shorter than the reach, but never shorter than a start,
    a steady state, a cut and a tail.
    """

    encoder_s: float = 10.0
    decoder_s: float = 25.0
    given_s: float = 2.0
    """Of each half in each other precision: its figures may be of a part of the stream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamPlan:
    """How long the stream is, and where its scene changes. Numbers count from 0."""

    latents: int
    cut_latent: int
    decoder_latents: int
    frames: int
    cut_frame: int


def plan_stream(
    manifest: Manifest,
    *,
    encoder_reach: int | None,
    decoder_reach: int | None,
    encoder_fits: int,
    decoder_fits: int,
) -> StreamPlan:
    """A stream of at least a reach of each half, as far as it fits.

    Args:
        manifest: of the bundle.
        encoder_reach, decoder_reach: in latents, of `reach_in_latents`.
        encoder_fits, decoder_fits: the most latents that there is time and room for.
    """
    framing, chunk = Framing.of(manifest.model), manifest.chunk
    if not framing.causal:
        windows = min(3, max(2, min(encoder_fits, decoder_fits) // chunk))
        latents = decoder_latents = windows * chunk
        cut = chunk + chunk // 2
    else:
        # One more than the reach, and the tail, which is a latent of its own kind.
        latents = max(4, min((encoder_reach or 6) + 2, encoder_fits))
        decoder_latents = max(latents, min((decoder_reach or 6) + 1, decoder_fits))
        cut = 2 if latents < 6 else 4
    f = manifest.model.time_factor
    return StreamPlan(
        latents=latents,
        cut_latent=cut,
        decoder_latents=decoder_latents,
        frames=framing.first_frame(latents - 1) + max(1, f // 2),
        cut_frame=framing.first_frame(cut) + f // 2,
    )


def make_golden(bundle: Bundle, model: VidTok, budget: Budget | None = None) -> GoldenStream:
    """The golden stream of `bundle`, whose reference is `model`; writes nothing.

    Args:
        bundle: whose float32 graphs were verified, where it has any.
        model: the reference with its weights, float32.
        budget: how long it may take; the usual where None.
    """
    budget = budget or Budget()
    with _reference(bundle, model) as pair:
        golden = reference_stream(bundle.manifest, pair, budget)
    given = []
    for precision, placement in dict.fromkeys(
        (graph.precision, graph.placement) for graph in bundle.manifest.graphs
    ):
        if precision != "fp32":
            with _open(bundle, precision, placement) as pair:
                given.append(given_by(golden, bundle.manifest, pair, budget))
    return replace(golden, facts=replace(golden.facts, given=tuple(given)))


@contextmanager
def _reference(bundle: Bundle, model: VidTok) -> Iterator[StepPair]:
    if "fp32" in bundle.manifest.precisions:
        with _open(bundle, "fp32", Placement.ANY) as pair:
            yield pair
    else:
        streams = TorchStreams(model, options_of(bundle.manifest), BOTH_FP32)
        yield StepPair(*streams.steps.values())


@contextmanager
def _open(bundle: Bundle, precision: Precision, placement: Placement) -> Iterator[StepPair]:
    """Two graphs on ONNX Runtime's CPU provider."""
    graphs = [bundle.manifest.graph(kind, precision, placement) for kind in KINDS]
    small = all((bundle.path / g.data_file).stat().st_size < _SMALL for g in graphs)
    with open_pair(bundle, Backend.CPU, precision, placement, 1 if small else None) as pair:
        yield pair


def reference_stream(manifest: Manifest, pair: StepPair, budget: Budget) -> GoldenStream:
    """What `pair`, the reference, makes of the frames; nothing is said of other precisions."""
    reaches = [reach_in_latents(s.graph, manifest.model) for s in (pair.encoder, pair.decoder)]
    # Halves of a mean; a token that hardly compresses, and its margin.
    value_bytes = 2 if manifest.model.latent == "kl" else 3
    room = _MOST_BYTES // (value_bytes * prod(manifest.model.shape(manifest.grid)))
    plan = plan_stream(
        manifest,
        encoder_reach=reaches[0],
        decoder_reach=reaches[1],
        encoder_fits=min(room, _fitting(pair.encoder, manifest, budget.encoder_s)),
        decoder_fits=_fitting(pair.decoder, manifest, budget.decoder_s),
    )
    facts = GoldenFacts(
        schema=SCHEMA,
        toolkit=__version__,
        recipe=RECIPE,
        reference=f"fp32, {pair.encoder.info}",
        variant=manifest.model.variant,
        weights_sha256=manifest.weights.sha256,
        height=manifest.height,
        width=manifest.width,
        io=manifest.io,
        frames=plan.frames,
        cut_frame=plan.cut_frame,
        latents=plan.latents,
        cut_latent=plan.cut_latent,
        decoder_latents=plan.decoder_latents,
        encoder_reach=reaches[0],
        decoder_reach=reaches[1],
        frames_sha256="",
        arrays_sha256="",
        pictures_sha256=(),
        given=(),
    )
    frames = list(golden_frames(facts))
    run = encoded(manifest, pair.encoder, frames, alone=True)
    assert len(run.items) == plan.latents
    latents, margin = np.stack(run.items), None
    if manifest.model.latent == "fsq":
        margin = margin_bytes(margin_of(np.stack(run.raw), manifest.model.levels))
    else:
        latents = latents.astype(np.float16).astype(np.float32)
    empty = np.zeros((0, 0, 3), np.uint8)
    golden = GoldenStream(facts=facts, latents=latents, margin=margin, samples=empty)
    pictures = decoded(manifest, pair.decoder, golden.decoder_values(), alone=True)
    golden = replace(golden, samples=np.stack(pictures.items))
    facts = replace(
        facts,
        frames_sha256=sha256_of_parts(frame.tobytes() for frame in frames),
        arrays_sha256=sha256_of_parts([golden.packed()]),
        pictures_sha256=tuple(pictures.digests[0]),
    )
    return replace(golden, facts=facts)


def _fitting(step: Step, manifest: Manifest, seconds: float) -> int:
    """How many latents go through `step` in that time, from one call on zeros."""
    began = time.perf_counter()
    step.run()
    return int(manifest.chunk * seconds / (time.perf_counter() - began))


def given_by(golden: GoldenStream, manifest: Manifest, pair: StepPair, budget: Budget) -> Given:
    """What the graphs of `pair` give, as far as there is time: beyond the cut at least."""
    facts, framing = golden.facts, Framing.of(manifest.model)
    least = facts.cut_latent + 2 if framing.causal else facts.latents
    first = max(least, _fitting(pair.encoder, manifest, budget.given_s))
    frames = islice(golden.frames(), framing.first_frame(first))
    latents = encoded(manifest, pair.encoder, frames, alone=True).items
    first = max(least, _fitting(pair.decoder, manifest, budget.given_s))
    values = islice(golden.decoder_values(), first)
    pictures = decoded(manifest, pair.decoder, values, alone=True).items
    if framing.delayed and first < facts.decoder_latents:
        # The last ones are of a stream that ends there, which the golden one does not.
        pictures = pictures[: 1 - framing.time_factor]
    graph = pair.encoder.graph
    return Given(
        precision=graph.precision,
        placement=graph.placement,
        library=pair.encoder.info.library,
        encoder=_rounded(scores(golden, "encoder", latents)),
        decoder=_rounded(scores(golden, "decoder", pictures)),
    )


def _rounded(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(round(value, 4) for value in values)
