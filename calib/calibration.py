"""INT8 ranges from live streams: whole clips through the fp32 steps, caches and all.

What is observed is what enters and leaves each convolution, so the frames of its cache are among
it: at the start of a stream, in the middle, at a scene cut and in the tail.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vidtok_edge import __version__
from vidtok_edge.calib.clips import Clip, ClipList, find_clips
from vidtok_edge.calib.histogram import UnusableValues
from vidtok_edge.calib.methods import Method, range_of
from vidtok_edge.calib.ranges import SCHEMA, DataFacts, LayerRanges, Ranges, TensorRanges
from vidtok_edge.calib.resume import CalibrationState, TensorKey
from vidtok_edge.errors import CalibrationError
from vidtok_edge.lowering.facts import BOTH_FP32
from vidtok_edge.lowering.interface import KINDS
from vidtok_edge.lowering.numerics import convolutions
from vidtok_edge.lowering.step import Kind, StepOptions
from vidtok_edge.lowering.torch_step import TorchStreams
from vidtok_edge.runtime.progress import Progress, no_progress
from vidtok_edge.variants import Variant
from vidtok_edge.vidtok_ref import VidTok

__all__ = [
    "Calibration",
    "CalibrationPlan",
    "CalibrationRequest",
    "calibrate",
    "plan_calibration",
]


@dataclass(frozen=True, slots=True)
class CalibrationRequest:
    """What to calibrate on, and how.

    Attributes:
        data: a folder of clips, a list of them, a clip; None: two clips that ship with the package.
        frames: at most so many of each clip, 8 latents by default; None: all.
        method: how a range is chosen from a histogram.
        percentile: for the method of that name.
    """

    data: Path | None = None
    frames: int | None = 33
    method: Method = "mse"
    percentile: float = 99.99

    @property
    def percentile_used(self) -> float | None:
        """`percentile` where the method has one."""
        return self.percentile if self.method == "percentile" else None


@dataclass(frozen=True, slots=True)
class Calibration:
    """The ranges, and how they were come by.

    Attributes:
        clips: what was found, and used.
        ranges: as stored in the bundle.
        reused: they were there, and nothing had changed.
        notes: sentences for the user: what was skipped, why stored ranges were not reused.
    """

    clips: ClipList
    ranges: Ranges
    reused: bool
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CalibrationPlan:
    """What a calibration would do.

    Attributes:
        clips: that it would read.
        data: what decides what it would see.
        stored: ranges that are there and would be reused; else None.
        why_not: sentences, why ranges that are there would not be.
    """

    clips: ClipList
    data: DataFacts
    stored: Ranges | None
    why_not: tuple[str, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """For the user: what is skipped, doubts about clips, why stored ranges are not reused."""
        skipped = [f"skipped {clip.name}: {clip.why}" for clip in self.clips.skipped]
        doubts = [f"{c.facts.name}: {doubt}" for c in self.clips for doubt in c.doubts]
        return (*skipped, *doubts, *(f"not reused: {reason}" for reason in self.why_not))


def plan_calibration(
    variant: Variant,
    options: StepOptions,
    weights_sha256: str,
    folder: Path,
    request: CalibrationRequest,
) -> CalibrationPlan:
    """Find and read the clips, and look for stored ranges; arguments and errors as `calibrate`."""
    clips = find_clips(
        request.data,
        size=(options.height, options.width),
        least_frames=options.chunk * variant.time_factor,
        frames=request.frames,
    )
    data = DataFacts(
        variant=variant.name,
        weights_sha256=weights_sha256,
        height=options.height,
        width=options.width,
        frames_per_clip=request.frames,
        clips=clips.used,
    )
    return CalibrationPlan(clips, data, *_stored(folder, data, request))


def calibrate(
    model: VidTok,
    options: StepOptions,
    weights_sha256: str,
    folder: Path,
    request: CalibrationRequest,
    progress: Progress = no_progress,
) -> Calibration:
    """Ranges for every convolution of `model`, stored in the bundle `folder`.

    Stored ranges are reused when nothing changed. An interrupted calibration goes on with the clip
    it was at.

    Args:
        model: the reference, float32.
        options: how to lower; `io` must be `uint8`.
        weights_sha256: of `model`, as the manifest has it.
        folder: of the bundle.
        request: data and method.
        progress: called after each frame.

    Raises:
        CalibrationError: no usable clips, or values that are not finite; the layer is named.
        OutputNotWritable: the ranges cannot be stored.
    """
    plan = plan_calibration(model.variant, options, weights_sha256, folder, request)
    if plan.stored is not None:
        return Calibration(plan.clips, plan.stored, True, plan.notes)
    state, why_not = CalibrationState.load(folder, plan.data)
    notes = (*plan.notes, *([f"not gone on with: {why_not}"] if why_not else []))
    state = state or CalibrationState(plan.data)
    _observe(TorchStreams(model, options, BOTH_FP32), plan.clips, state, folder, progress)
    ranges = Ranges(
        schema=SCHEMA,
        toolkit=__version__,
        data=plan.data,
        skipped=plan.clips.skipped,
        method=request.method,
        percentile=request.percentile_used,
        encoder=_ranges(state, "encoder", request),
        decoder=_ranges(state, "decoder", request),
    )
    ranges.save(folder)
    CalibrationState.remove(folder)
    return Calibration(plan.clips, ranges, False, notes)


def _stored(
    folder: Path, data: DataFacts, request: CalibrationRequest
) -> tuple[Ranges | None, tuple[str, ...]]:
    """The ranges of an earlier calibration, if they are what this one would give; else why not."""
    try:
        ranges = Ranges.load(folder)
    except CalibrationError as error:
        return None, (str(error),)
    if ranges is None:
        return None, ()
    differences = ranges.differences(data, request.method, request.percentile_used)
    return (None, differences) if differences else (ranges, ())


def _observe(
    streams: TorchStreams,
    clips: ClipList,
    state: CalibrationState,
    folder: Path,
    progress: Progress,
) -> None:
    """Stream every clip that `state` does not know yet; `state` is stored after each."""
    total = sum(clip.facts.frames for clip in clips)
    done = sum(clip.facts.frames for clip in clips.clips[: state.clips_done])
    with _observed(streams, state):
        for clip in clips.clips[state.clips_done :]:
            for _ in _streamed(streams, clips, clip):
                done += 1
                progress(done, total)
            state.clips_done += 1
            state.save(folder)


def _streamed(streams: TorchStreams, clips: ClipList, clip: Clip) -> Iterator[None]:
    """One clip from its start to its tail, encoded and decoded; yields after each frame."""
    encoder, decoder = streams.encoder(), streams.decoder()
    for frame in clips.frames(clip):
        for latents in encoder.push(frame):
            decoder.push(latents)
        yield
    for latents in encoder.finish():
        decoder.push(latents)
    decoder.finish()


@contextmanager
def _observed(streams: TorchStreams, state: CalibrationState) -> Iterator[None]:
    """Count what goes through every convolution while the block runs."""
    handles = [
        layer.register_forward_hook(_counter(state, kind, name))
        for kind in KINDS
        for name, layer in convolutions(streams.steps[kind].module).items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _counter(
    state: CalibrationState, kind: Kind, name: str
) -> Callable[[nn.Module, Any, Any], None]:
    given = state.histogram(TensorKey(kind, name, "input"))
    result = state.histogram(TensorKey(kind, name, "output"))

    def count(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        for side, histogram, values in (
            ("input", given, inputs[0]),
            ("output", result, output),
        ):
            try:
                histogram.update(values)
            except UnusableValues as error:
                raise CalibrationError(
                    f"The {side} of {name} has {error}. INT8 cannot represent that: check the "
                    "weights, or leave the clip out that was being read."
                ) from None

    return count


def _ranges(
    state: CalibrationState, kind: Kind, request: CalibrationRequest
) -> tuple[LayerRanges, ...]:
    names = dict.fromkeys(key.layer for key in state.histograms if key.kind == kind)
    return tuple(
        LayerRanges(
            name,
            _both(state, TensorKey(kind, name, "input"), request),
            _both(state, TensorKey(kind, name, "output"), request),
        )
        for name in names
    )


def _both(state: CalibrationState, key: TensorKey, request: CalibrationRequest) -> TensorRanges:
    asymmetric, symmetric = (
        range_of(
            state.histogram(key),
            request.method,
            symmetric=symmetric,
            percentile=request.percentile,
        )
        for symmetric in (False, True)
    )
    return TensorRanges(asymmetric, symmetric)
