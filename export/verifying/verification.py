"""Proof that a bundle does what its promise says: streamed, and compared with the whole-clip model.

What runs is the runtime that users run, on the files that were written. Before each stream the
caches are filled with NaN, so every comparison also shows that a start forgets what was there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np

from vidtok_edge.errors import EngineMissing
from vidtok_edge.export.verifying.chunk_plans import compare_plans
from vidtok_edge.export.verifying.comparison import Comparison
from vidtok_edge.export.verifying.entry import compare_entries, entry_qualities
from vidtok_edge.export.verifying.loss import DEFAULT_LIMITS, Limits, Loss, compare_loss
from vidtok_edge.export.verifying.lossy import FloatStreams, losses
from vidtok_edge.export.verifying.report import ParityReport
from vidtok_edge.export.verifying.step_pair import StepPair, open_pair, poison
from vidtok_edge.export.verifying.whole_clip import Array, WholeClip, noise, sources, whole_clip
from vidtok_edge.lowering.facts import BOTH_FP32, options_of
from vidtok_edge.lowering.torch_step import TorchStreams
from vidtok_edge.runtime import Bundle, Latents, StreamDecoder, StreamEncoder
from vidtok_edge.runtime.backends.backend import Backend
from vidtok_edge.runtime.backends.step import Step
from vidtok_edge.runtime.manifest.graphs import Placement, Precision
from vidtok_edge.runtime.manifest.manifest import EntryQuality, Manifest
from vidtok_edge.runtime.streaming.framing import Framing
from vidtok_edge.vidtok_ref import VidTok

__all__ = ["verify_bundle"]


def verify_bundle(
    bundle: Bundle,
    model: VidTok,
    backend: Backend = Backend.ONNXRUNTIME,
    chunk_plans: bool = True,
    limits: Mapping[Precision, Limits] = DEFAULT_LIMITS,
) -> ParityReport:
    """Stream the bundle on `backend`: float32 against `model`, other precisions against float32.

    Args:
        bundle: as written.
        model: the reference, float32, which must have the bundle's weights.
        backend: ONNX Runtime runs every graph, also INT8 that is placed for TensorRT, slowly;
            `AUTO` those that `Bundle.encoder` would run here.
        chunk_plans: also mix calls of twice the chunk into a stream; those run in PyTorch.
        limits: what precisions may cost.

    Raises:
        EngineMissing, EngineStale: on engines, where one of FP16 or INT8 is not there, or no other
            precision. Without float32 engines PyTorch is what the others are compared with.
    """
    manifest = bundle.manifest
    comparisons: list[Comparison] = []
    results: list[Loss] = []
    entries: tuple[EntryQuality, ...] = ()
    lossy = [pair for pair in _pairs(manifest, backend) if pair[0] != "fp32"]
    with ExitStack() as stack:
        floats = _open_floats(bundle, backend, stack, needed=not lossy)
        exact = floats or StepPair(
            *TorchStreams(model, options_of(manifest), BOTH_FP32).steps.values()
        )
        ran_on = str(exact.encoder.info)
        judged: Iterator[_Judged] = iter(())
        if lossy:
            streams = FloatStreams(manifest, exact)
            results += streams.losses
            robot = streams.streams["robot"]
            entries = entry_qualities(manifest, exact, robot.values, robot.frames)
            comparisons += compare_entries(entries)
            judge = partial(_judge, bundle, backend, streams, limits)
            if floats and backend.target is None and backend is not Backend.AUTO:
                judged = stack.enter_context(_beside(judge, lossy, streams))
            else:
                judged = (judge(pair) for pair in lossy)
        if floats:
            comparisons += _compare_float(bundle, model, floats, chunk_plans)
        for each in judged:
            comparisons += each.comparisons
            results += each.losses
            ran_on = each.ran_on
    return ParityReport(manifest.model.variant, ran_on, tuple(comparisons), tuple(results), entries)


@dataclass(frozen=True, slots=True)
class _Judged:
    """What a pair of graphs of another precision than float32 lost."""

    losses: list[Loss]
    comparisons: list[Comparison]
    ran_on: str


def _judge(
    bundle: Bundle,
    backend: Backend,
    streams: FloatStreams,
    limits: Mapping[Precision, Limits],
    graphs: tuple[Precision, Placement],
) -> _Judged:
    precision, placement = graphs
    with open_pair(bundle, backend, precision, placement) as pair:
        name = pair.encoder.graph.name.removeprefix("encoder.")
        found = losses(streams, name, pair)
        comparisons = _compare_restart(name, bundle.manifest, pair)
        ran_on = str(pair.encoder.info)
    bounds = limits.get(precision, Limits())
    comparisons += [c for loss in found for c in compare_loss(loss, bounds)]
    return _Judged(found, comparisons, ran_on)


@contextmanager
def _beside(
    judge: Callable[[tuple[Precision, Placement]], _Judged],
    lossy: Sequence[tuple[Precision, Placement]],
    streams: FloatStreams,
) -> Iterator[Iterator[_Judged]]:
    """Judge all of `lossy`, one after the other, while the block goes on: the runtime leaves a core
    idle where PyTorch or Python works, and the other way round.

    Where the block fails, no more of them are begun, and the one that runs ends at its next frame.
    """
    with ThreadPoolExecutor(1) as pool:
        try:
            yield pool.map(judge, lossy)
        except BaseException:
            streams.stop.set()
            pool.shutdown(cancel_futures=True)
            raise


def _open_floats(
    bundle: Bundle, backend: Backend, stack: ExitStack, *, needed: bool
) -> StepPair | None:
    """The float32 graphs; None where there are none. `needed`: nothing else can be verified."""
    if "fp32" not in bundle.manifest.precisions:
        return None
    try:
        return stack.enter_context(open_pair(bundle, backend))
    except EngineMissing:
        if needed:
            raise
        return None


def _pairs(manifest: Manifest, backend: Backend) -> list[tuple[Precision, Placement]]:
    """What can be opened as a pair of graphs, in the order of the export."""
    if backend is Backend.AUTO:
        return [(precision, Placement.ANY) for precision in manifest.precisions]
    by_tensorrt = backend.placement is Placement.TENSORRT
    left_out = Placement.ONNXRUNTIME if by_tensorrt else None
    return list(
        dict.fromkeys(
            (graph.precision, graph.placement)
            for graph in manifest.graphs
            if graph.placement is not left_out
        )
    )


def _compare_float(
    bundle: Bundle, model: VidTok, steps: StepPair, chunk_plans: bool
) -> list[Comparison]:
    """The float32 graphs against the whole-clip model."""
    manifest = bundle.manifest
    step_encoder, step_decoder = steps.encoder, steps.decoder
    encoder = StreamEncoder(manifest, step_encoder)
    decoder = StreamDecoder(manifest, step_decoder)
    comparisons: list[Comparison] = []
    streamed = []
    for name, frames in sources(manifest):
        clip = whole_clip(model, manifest, frames)
        encoded = _stream_encode(encoder, step_encoder, frames)
        decoded = _stream_decode(decoder, step_decoder, clip.values, len(frames))
        streamed.append(_Streamed(name, clip, encoded, decoded))
        comparisons += _compare_encode(streamed[-1])
        comparisons += _compare_decode(streamed[-1])
    comparisons += _compare_prefix(encoder, step_encoder, decoder, step_decoder, streamed[0])
    if manifest.streams > 1:
        comparisons.append(_compare_slots(encoder, step_encoder, streamed))
    if chunk_plans and manifest.model.causal:
        comparisons += compare_plans(manifest, model, steps)
    return comparisons


def _compare_restart(name: str, manifest: Manifest, pair: StepPair) -> list[Comparison]:
    """A stream over used caches is the same as over rubbish, and so is its prefix; bit for bit."""
    # Two whole calls: the second reads caches that the first wrote.
    latents = (2 if manifest.model.causal else 1) * manifest.chunk
    frames = noise(manifest, Framing.of(manifest.model).first_frame(latents), seed=2)
    runs = []
    for spoil in (False, True):
        if spoil:
            poison(pair.encoder)
        parts = []
        encoder = StreamEncoder(manifest, pair.encoder)
        for frame in frames:
            parts += encoder.push(frame)
        runs.append(np.concatenate([part.values for part in parts]))
    what = "values that differ"
    return [
        Comparison(
            name=f"{name}, started over",
            metric=what,
            value=_unequal(*runs),
            limit=0,
            note="bit for bit",
        )
    ]


@dataclass(frozen=True, slots=True)
class _Encoded:
    values: Array
    """Tokens [t, h, w] or mean [t, z, h, w]."""
    encoded: Array
    """[t, C, h, w], before quantisation; KL: mean and logvar."""
    frames_real: int


@dataclass(frozen=True, slots=True)
class _Streamed:
    """A clip and what streaming the whole of it gave."""

    name: str
    clip: WholeClip
    encoded: _Encoded
    decoded: Array
    """[T, H, W, 3], of the reference's latents."""


def _stream_encode(encoder: StreamEncoder, step: Step, frames: Array, slot: int = 0) -> _Encoded:
    parts: list[tuple[Latents, Array]] = []

    def keep(results: list[Latents]) -> None:
        names = ["latent"] if "latent" in step.outputs else ["mean", "logvar"]
        for result in results:
            raw = [step.outputs[name][result.slot, : len(result)] for name in names]
            parts.append((result, np.concatenate(raw, axis=1)))

    poison(step)
    for frame in frames:
        keep(encoder.push(frame, slot=slot))
    keep(encoder.finish(slot))
    return _Encoded(
        np.concatenate([result.values for result, _ in parts]),
        np.concatenate([raw for _, raw in parts]),
        sum(result.frames_real for result, _ in parts),
    )


def _stream_decode(decoder: StreamDecoder, step: Step, values: Array, frames_real: int) -> Array:
    poison(step)
    pictures = decoder.push_values(values, frames_real=frames_real)
    pictures += decoder.finish()
    return np.stack([p.pixels for p in pictures])


def _compare_encode(streamed: _Streamed) -> list[Comparison]:
    clip, got = streamed.clip, streamed.encoded
    what = f"encode {streamed.name}, streamed"
    lost = abs(got.frames_real - len(clip.frames))
    tokens = got.values if clip.tokens is not None else None
    return [
        *clip.compare_encoded(what, got.encoded, tokens),
        Comparison(
            name=what, metric="frames lost or added", value=lost, limit=0, note="tail included"
        ),
    ]


def _compare_decode(streamed: _Streamed) -> list[Comparison]:
    clip, got = streamed.clip, streamed.decoded
    what = f"decode {streamed.name}, streamed"
    lost = abs(len(got) - len(clip.decoded))
    return [
        clip.compare_decoded(what, got),
        Comparison(
            name=what, metric="frames lost or added", value=lost, limit=0, note="tail included"
        ),
    ]


def _compare_prefix(
    encoder: StreamEncoder,
    encoder_step: Step,
    decoder: StreamDecoder,
    decoder_step: Step,
    whole: _Streamed,
) -> list[Comparison]:
    """What is already out does not depend on what comes later: bit for bit, same graph."""
    framing, manifest = encoder.framing, encoder.manifest
    latents = 2 if manifest.model.causal else manifest.chunk
    frames = framing.first_frame(latents)
    part = _stream_encode(encoder, encoder_step, whole.clip.frames[:frames])
    unequal = _unequal(part.encoded, whole.encoded.encoded[:latents])
    comparisons = [
        Comparison(
            name="encode a prefix",
            metric="values that differ",
            value=unequal,
            limit=0,
            note="bit for bit",
        )
    ]
    # The right border of a delayed decoder is clamped, which is about its last f - 1 frames only.
    late = framing.time_factor - 1 if framing.delayed else 0
    part_frames = _stream_decode(decoder, decoder_step, whole.clip.values[:latents], frames)
    stable = max(1, frames - late)
    unequal = _unequal(part_frames[:stable], whole.decoded[:stable])
    comparisons.append(
        Comparison(
            name="decode a prefix",
            metric="values that differ",
            value=unequal,
            limit=0,
            note=f"first {stable} frames",
        )
    )
    return comparisons


def _unequal(a: Array, b: Array) -> int:
    """How many values differ; all of them where a frame or a latent is missing."""
    return int((a != b).sum()) if a.shape == b.shape else max(a.size, b.size)


def _compare_slots(encoder: StreamEncoder, step: Step, alone: list[_Streamed]) -> Comparison:
    """Slot 1 is reset and starts over while slot 0 goes on; both must be as if alone."""
    clips = [streamed.clip for streamed in alone]
    poison(step)
    results: list[Latents] = []
    middle = len(clips[0].frames) // 2
    for frame in clips[0].frames[:middle]:
        results += encoder.push(frame, slot=0)
        results += encoder.push(clips[0].frames[0], slot=1)
    encoder.reset(1)
    results = [r for r in results if r.slot == 0]
    rest = clips[0].frames[middle:]
    for i, frame in enumerate(clips[1].frames):
        results += encoder.push(frame, slot=1)
        if i < len(rest):
            results += encoder.push(rest[i], slot=0)
    results += encoder.finish(0)
    results += encoder.finish(1)
    unequal = 0
    for slot in (0, 1):
        got = np.concatenate([r.values for r in results if r.slot == slot])
        unequal += _unequal(got, alone[slot].encoded.values)
    return Comparison(
        name="slot 1 reset, slot 0 goes on",
        metric="values that differ",
        value=unequal,
        limit=0,
        note="bit for bit",
    )
