"""The INT8 graphs of a bundle: both placements, from one calibration and one policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from vidtok_edge.calib.calibration import (
    CalibrationRequest,
    calibrate,
)
from vidtok_edge.calib.placement import int8_numerics
from vidtok_edge.calib.policy import DEFAULT_POLICY, Level, Policy
from vidtok_edge.calib.ranges import Ranges
from vidtok_edge.lowering.interface import KINDS
from vidtok_edge.lowering.numerics import Numerics
from vidtok_edge.lowering.step import Kind, StepOptions
from vidtok_edge.runtime.manifest.graphs import Placement
from vidtok_edge.runtime.progress import Progress, no_progress
from vidtok_edge.vidtok_ref import VidTok

__all__ = ["PLACEMENTS", "calibration_options", "default_int8", "int8_graphs", "levels_of"]

PLACEMENTS = (Placement.ONNXRUNTIME, Placement.TENSORRT)


def default_int8(
    model: VidTok,
    options: StepOptions,
    weights_sha256: str,
    folder: Path,
    progress: Progress = no_progress,
) -> list[Mapping[Kind, Numerics]]:
    """The arithmetic of INT8 graphs by the default recipe: shipped clips, default policy.

    Ranges and policy are stored in the bundle `folder`.

    Args:
        model: the reference, float32.
        options: how its graphs are lowered.
        weights_sha256: of `model`, as the manifest has it.
        folder: of the bundle.
        progress: called after each frame of the calibration.

    Returns:
        One pair of graphs for each of `PLACEMENTS`.

    Raises:
        CalibrationError, OutputNotWritable: as `calibrate`.
    """
    lowered = calibration_options(options)
    request = CalibrationRequest()
    ranges = calibrate(model, lowered, weights_sha256, folder, request, progress).ranges
    DEFAULT_POLICY.save(folder, levels_of(ranges, DEFAULT_POLICY))
    return int8_graphs(ranges, DEFAULT_POLICY)


def calibration_options(options: StepOptions) -> StepOptions:
    """How to lower for a calibration of graphs with `options`: one stream, fed bytes.

    Slots without a stream compute too, on whatever lies in their buffers; that must not be seen.
    """
    return replace(options, streams=1, io="uint8")


def int8_graphs(ranges: Ranges, policy: Policy) -> list[Mapping[Kind, Numerics]]:
    """The arithmetic of both graphs for each of `PLACEMENTS`."""
    return [
        {kind: int8_numerics(ranges, policy, kind, placement) for kind in KINDS}
        for placement in PLACEMENTS
    ]


def levels_of(ranges: Ranges, policy: Policy) -> dict[str, Level]:
    """What `policy` comes to, layer by layer, encoder first."""
    return policy.levels([name for kind in KINDS for name in ranges.layers(kind)])
