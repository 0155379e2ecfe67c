"""Proof that a bundle does what its promise says: it is streamed and compared with the whole-clip model.

What runs is the runtime that users run, on the files that were written. Before each stream the caches are
filled with NaN, so every comparison also shows that a start forgets what was there.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vidtok_edge.export.bundle_files import KINDS, options_of, write_graphs
from vidtok_edge.export.parity import Comparison, ParityReport
from vidtok_edge.runtime import Bundle, Latents, StreamDecoder, StreamEncoder
from vidtok_edge.runtime.backend import Step, open_step
from vidtok_edge.runtime.clip import ClipReader
from vidtok_edge.runtime.framing import Framing
from vidtok_edge.runtime.manifest import Manifest
from vidtok_edge.vidtok_ref import Latents as ReferenceLatents
from vidtok_edge.vidtok_ref import VidTok
from vidtok_edge.vidtok_ref.regularizer import fsq_bound
from vidtok_edge.vidtok_ref.weights import embedded_file

__all__ = ["FLOAT_LIMIT", "verify_bundle"]

FLOAT_LIMIT = 2e-5
"""Max abs difference of float32 outputs (design, "Numbers that must hold")."""
BOUNDARY = 1e-4
"""A token may differ where the reference lies this close to a boundary between two levels."""

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class _Clip:
    """Frames as the bundle takes them, and what the whole-clip model makes of them."""

    name: str
    frames: Array
    """[T, H, W, 3], a tail of less than a latent included."""
    tokens: Array | None
    encoded: Array
    """[t, C, h, w], the encoder's outputs but the tokens."""
    margin: Array | None
    """[t, h, w], distance of the FSQ bound to the nearest boundary, the least over the channels."""
    decoded: Array
    """[T, H, W, 3] float32 in [-1, 1]: the decode of the model's own latents, cut to the real frames."""


def verify_bundle(
    bundle: Bundle, model: VidTok, backend: str = "auto", chunk_plans: bool = True
) -> ParityReport:
    """Stream the bundle on `backend` and compare it with `model`, which must have its weights.

    Args:
        bundle: as written.
        model: the reference, float32.
        backend: as `Bundle.encoder`.
        chunk_plans: also lower graphs of twice the chunk, for a while, and mix both in one stream.
    """
    manifest = bundle.manifest
    with _open(bundle, backend) as steps:
        step_encoder, step_decoder = steps.encoder, steps.decoder
        encoder = StreamEncoder(manifest, step_encoder)
        decoder = StreamDecoder(manifest, step_decoder)
        comparisons: list[Comparison] = []
        clips = [_reference(model, manifest, *source) for source in _sources(manifest)]
        for clip in clips:
            comparisons += _compare_encode(encoder, step_encoder, clip)
            comparisons += _compare_decode(decoder, step_decoder, clip)
        comparisons += _compare_prefix(encoder, step_encoder, decoder, step_decoder, clips[0])
        if manifest.streams > 1:
            comparisons.append(_compare_slots(encoder, step_encoder, clips))
        if chunk_plans and manifest.model.causal:
            comparisons += _compare_plans(bundle, model, backend, steps)
        ran_on = str(step_encoder.info)
    return ParityReport(manifest.model.variant, ran_on, tuple(comparisons))


# --- what is streamed, and what should come of it ---------------------------------------------


def _sources(manifest: Manifest) -> Iterator[tuple[str, Array]]:
    """Seeded noise and the shipped clip, each three latents and a tail."""
    framing = Framing.of(manifest.model)
    latents = 3 if manifest.model.causal else manifest.chunk
    frames = framing.first_frame(latents) + max(1, manifest.model.time_factor // 2)
    size = (manifest.height, manifest.width)
    noise = np.random.default_rng(0).integers(0, 256, (frames, *size, 3), dtype=np.uint8)
    yield "noise", _as_input(noise, manifest)
    with ClipReader(embedded_file("clip_robot.mp4"), size=size) as clip:
        pixels = [frame.pixels for frame, _ in zip(clip, range(frames), strict=False)]
    yield "clip", _as_input(np.stack(pixels), manifest)


def _as_input(pixels: Array, manifest: Manifest) -> Array:
    if manifest.io == "uint8":
        return pixels
    return (pixels / np.float32(127.5) - 1).astype(np.float32)


def _reference(model: VidTok, manifest: Manifest, name: str, frames: Array) -> _Clip:
    """The whole-clip encode and decode of `frames`, the last one repeated up to a whole latent."""
    framing = Framing.of(manifest.model)
    real = len(frames)
    # A non-causal stream is cut into whole windows, each a clip of its own.
    size = manifest.chunk_frames
    whole = framing.first_frame(framing.latents(real))
    total = whole if manifest.model.causal else -(-real // size) * size
    padded = np.concatenate([frames, np.repeat(frames[-1:], total - real, axis=0)])
    windows = [padded] if manifest.model.causal else np.split(padded, total // size)
    with torch.inference_mode():
        latents = [model.encode(_video(window)) for window in windows]
        decoded = torch.cat(
            [
                model.decode(part.latent)[:, :, -len(window) :]
                for part, window in zip(latents, windows, strict=True)
            ],
            dim=2,
        )
    encoded = torch.cat([_encoder_outputs(part) for part in latents], dim=2)
    keep = framing.latents(real) if manifest.model.causal else framing.latents(total)
    tokens = margin = None
    if manifest.model.latent == "fsq":
        tokens = torch.cat([p.tokens for p in latents if p.tokens is not None], dim=1)[0].numpy()
        bound = fsq_bound(encoded, manifest.model.levels)
        margin = (0.5 - (bound - bound.round()).abs()).amin(dim=1)[0].numpy()[:keep]
        tokens = tokens[:keep]
    return _Clip(
        name,
        frames,
        tokens,
        encoded[0].transpose(0, 1).numpy()[:keep],
        margin,
        decoded[0].permute(1, 2, 3, 0).numpy()[:real],
    )


def _encoder_outputs(latents: ReferenceLatents) -> torch.Tensor:
    """[1, C, t, h, w] as the graph puts it out: before quantisation, or mean and clamped logvar."""
    if latents.logvar is None:
        return latents.encoded
    return torch.cat([latents.latent, latents.logvar], dim=1)


def _video(frames: Array) -> torch.Tensor:
    """[T, H, W, 3] as the bundle takes it to [1, 3, T, H, W] in [-1, 1]."""
    video = torch.from_numpy(frames)
    if video.dtype == torch.uint8:
        video = video.to(torch.float32) / 127.5 - 1
    return video.permute(3, 0, 1, 2).unsqueeze(0).contiguous()


def _latent_values(clip: _Clip, manifest: Manifest) -> Array:
    """What the decoder takes for the whole clip: tokens [t, h, w] or mean [t, z, h, w]."""
    if clip.tokens is not None:
        return clip.tokens
    return np.ascontiguousarray(clip.encoded[:, : manifest.model.z_channels])


# --- streaming --------------------------------------------------------------------------------


def _poison(step: Step) -> None:
    """Fill the caches with what must never come out again."""
    step.set_caches(
        {
            name: np.full_like(value, np.nan if value.dtype.kind == "f" else 1)
            for name, value in step.caches().items()
        }
    )


@dataclass(frozen=True, slots=True)
class _Encoded:
    values: Array
    """Tokens [t, h, w] or mean [t, z, h, w]."""
    encoded: Array
    """[t, C, h, w], before quantisation; KL: mean and logvar."""
    frames_real: int


def _stream_encode(encoder: StreamEncoder, step: Step, frames: Array, slot: int = 0) -> _Encoded:
    parts: list[tuple[Latents, Array]] = []

    def keep(results: list[Latents]) -> None:
        names = ["latent"] if "latent" in step.outputs else ["mean", "logvar"]
        for result in results:
            raw = [step.outputs[name][result.slot, : len(result)] for name in names]
            parts.append((result, np.concatenate(raw, axis=1)))

    _poison(step)
    for frame in frames:
        keep(encoder.push(frame, slot=slot))
    keep(encoder.finish(slot))
    return _Encoded(
        np.concatenate([result.values for result, _ in parts]),
        np.concatenate([raw for _, raw in parts]),
        sum(result.frames_real for result, _ in parts),
    )


def _stream_decode(decoder: StreamDecoder, step: Step, values: Array, frames_real: int) -> Array:
    _poison(step)
    pictures = decoder.push_values(values, frames_real=frames_real)
    pictures += decoder.finish()
    assert [p.frame for p in pictures] == list(range(len(pictures)))
    return np.stack([p.pixels for p in pictures])


# --- comparisons ------------------------------------------------------------------------------


def _compare_encode(encoder: StreamEncoder, step: Step, clip: _Clip) -> list[Comparison]:
    got = _stream_encode(encoder, step, clip.frames)
    what = f"encode {clip.name}, streamed"
    return [
        Comparison(what, "max |difference|", _distance(got.encoded, clip.encoded), FLOAT_LIMIT),
        *_compare_tokens(what, got.values, clip),
        Comparison(
            what,
            "frames lost or added",
            abs(got.frames_real - len(clip.frames)),
            0,
            "tail included",
        ),
    ]


def _compare_tokens(what: str, got: Array | None, clip: _Clip) -> list[Comparison]:
    if clip.tokens is None or clip.margin is None or got is None:
        return []
    flipped = got != clip.tokens
    near = flipped & (clip.margin < BOUNDARY)
    note = f"of {flipped.size}"
    if near.any():
        places = ", ".join(
            f"{tuple(int(i) for i in place)} at {clip.margin[tuple(place)]:.1e}"
            for place in np.argwhere(near)[:8]
        )
        note += f"; {int(near.sum())} more within {BOUNDARY:g} of a boundary: {places}"
    return [Comparison(what, "tokens that differ", int((flipped & ~near).sum()), 0, note)]


def _compare_decode(decoder: StreamDecoder, step: Step, clip: _Clip) -> list[Comparison]:
    values = _latent_values(clip, decoder.manifest)
    got = _stream_decode(decoder, step, values, len(clip.frames))
    what = f"decode {clip.name}, streamed"
    lost = abs(len(got) - len(clip.decoded))
    if lost:
        return [Comparison(what, "frames lost or added", lost, 0)]
    note = "uint8: beyond rounding" if got.dtype == np.uint8 else ""
    return [
        Comparison(
            what, "max |difference|", _picture_distance(got, clip.decoded), FLOAT_LIMIT, note
        ),
        Comparison(what, "frames lost or added", 0, 0, "tail included"),
    ]


def _distance(a: Array, b: Array) -> float:
    """Max abs difference; infinite where shapes differ, so that it cannot pass."""
    return float(np.abs(a - b).max()) if a.shape == b.shape else float("inf")


def _picture_distance(got: Array, reference: Array) -> float:
    """Max abs difference in [-1, 1]; of uint8 pictures what is left after half a level of rounding."""
    if got.dtype != np.uint8:
        return _distance(got, reference)
    exact = (reference.clip(-1, 1).astype(np.float64) + 1) * 127.5
    return float(max(0.0, (np.abs(got - exact) - 0.5).max() / 127.5))


def _compare_prefix(
    encoder: StreamEncoder,
    encoder_step: Step,
    decoder: StreamDecoder,
    decoder_step: Step,
    clip: _Clip,
) -> list[Comparison]:
    """What is already out does not depend on what comes later: bit for bit, same graph."""
    framing, manifest = encoder.framing, encoder.manifest
    latents = 2 if manifest.model.causal else manifest.chunk
    frames = framing.first_frame(latents)
    whole = _stream_encode(encoder, encoder_step, clip.frames)
    part = _stream_encode(encoder, encoder_step, clip.frames[:frames])
    unequal = int((part.encoded != whole.encoded[:latents]).sum())
    comparisons = [Comparison("encode a prefix", "values that differ", unequal, 0, "bit for bit")]
    # The right border of a delayed decoder is clamped, which is about its last f - 1 frames only.
    values = _latent_values(clip, manifest)
    late = framing.time_factor - 1 if framing.delayed else 0
    whole_frames = _stream_decode(decoder, decoder_step, values, len(clip.frames))
    part_frames = _stream_decode(decoder, decoder_step, values[:latents], frames)
    stable = max(1, frames - late)
    unequal = int((part_frames[:stable] != whole_frames[:stable]).sum())
    comparisons.append(
        Comparison("decode a prefix", "values that differ", unequal, 0, f"first {stable} frames")
    )
    return comparisons


def _compare_slots(encoder: StreamEncoder, step: Step, clips: list[_Clip]) -> Comparison:
    """Slot 1 is reset and starts over while slot 0 goes on; both must be as if alone."""
    alone = [_stream_encode(encoder, step, clip.frames).values for clip in clips]
    _poison(step)
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
        same = got.shape == alone[slot].shape
        unequal += int((got != alone[slot]).sum()) if same else got.size
    return Comparison(
        "slot 1 reset, slot 0 goes on", "values that differ", unequal, 0, "bit for bit"
    )


# --- chunk plans ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Steps:
    """Both graphs of a bundle, without the runtime around them."""

    encoder: Step
    decoder: Step


@contextmanager
def _open(bundle: Bundle, backend: str) -> Iterator[_Steps]:
    graphs = [bundle.manifest.graph(kind) for kind in KINDS]
    with ExitStack() as stack:
        encoder, decoder = (
            stack.enter_context(open_step(graph, bundle.path / graph.file, backend))
            for graph in graphs
        )
        yield _Steps(encoder, decoder)


def _compare_plans(bundle: Bundle, model: VidTok, backend: str, steps: _Steps) -> list[Comparison]:
    """Streams that mix calls of N and 2N latents, caches handed over, against the whole clip."""
    manifest = bundle.manifest
    n = manifest.chunk
    framing = Framing.of(manifest.model)
    size = (framing.first_frame(4 * n), manifest.height, manifest.width, 3)
    noise = np.random.default_rng(1).integers(0, 256, size, dtype=np.uint8)
    clip = _reference(model, manifest, "noise", _as_input(noise, manifest))
    with tempfile.TemporaryDirectory(prefix="vidtok-edge-") as folder:
        options = replace(options_of(manifest), chunk=2 * n)
        twice = write_graphs(model, options, Path(folder))
        with _open(twice, backend) as steps_of_twice:
            runners = {n: steps, 2 * n: steps_of_twice}
            plans = [[2 * n, 2 * n], [n, 2 * n, n], [2 * n, n, n]]
            return [c for plan in plans for c in _compare_plan(runners, framing, clip, plan)]


def _compare_plan(
    runners: dict[int, _Steps], framing: Framing, clip: _Clip, plan: list[int]
) -> list[Comparison]:
    name = "chunks of " + "+".join(map(str, plan)) + " latents"
    frames = np.concatenate([np.repeat(clip.frames[:1], framing.lead_in - 1, 0), clip.frames])
    outputs = _run_plan({n: s.encoder for n, s in runners.items()}, "frames", frames, plan)
    if clip.tokens is None:
        encoded = np.concatenate([outputs["mean"], outputs["logvar"]], axis=1)
        source, values = "latent", outputs["mean"]
    else:
        encoded, source, values = outputs["latent"], "tokens", clip.tokens
    raw = _run_plan({n: s.decoder for n, s in runners.items()}, source, values, plan)["frames"]
    got = np.stack([f for i, f in enumerate(raw) if framing.frame_of_output(i) is not None])
    reference = clip.decoded[: len(got)]  # a delayed decoder still holds the rest
    distance = _picture_distance(got, reference)
    return [
        Comparison(
            f"encode, {name}", "max |difference|", _distance(encoded, clip.encoded), FLOAT_LIMIT
        ),
        *_compare_tokens(f"encode, {name}", outputs.get("tokens"), clip),
        Comparison(f"decode, {name}", "max |difference|", distance, FLOAT_LIMIT),
    ]


def _run_plan(
    steps: dict[int, Step], source: str, items: Array, plan: list[int]
) -> dict[str, Array]:
    """Run `items` through slot 0 in calls of `plan` latents; the outputs, concatenated."""
    per_latent = len(items) // sum(plan)
    outputs: dict[str, list[Array]] = {}
    caches: dict[str, Array] = {}
    position = 0
    for number, n in enumerate(plan):
        step = steps[n]
        step.inputs[source][0] = items[position : position + n * per_latent]
        for name in ("start", "ready", "end"):
            if name in step.inputs:
                step.inputs[name][:] = False
        step.inputs["start"][0] = number == 0
        if "ready" in step.inputs:
            step.inputs["ready"][0] = True
        if number == 0:
            _poison(step)
        else:
            step.set_caches(caches)
        step.run()
        caches = step.caches()
        for name, value in step.outputs.items():
            outputs.setdefault(name, []).append(value[0].copy())
        position += n * per_latent
    return {name: np.concatenate(parts) for name, parts in outputs.items()}
