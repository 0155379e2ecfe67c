"""Readers of what a calibration writes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fuzz.mutations import of_text, of_zip
from fuzz.target import Target

if TYPE_CHECKING:
    from vidtok_edge.calib.ranges import DataFacts

__all__ = ["calibration_targets"]


def calibration_targets() -> Sequence[Target]:
    """For what a calibration leaves, and goes on from."""
    return [
        Target(
            name=name,
            make=partial(_calibrated, name),
            read=read,
            mutation=mutation,
            needs=("torch", "safetensors"),
        )
        for name, read, mutation in (
            ("ranges", _ranges, of_text),
            ("policy", _policy, of_text),
            ("progress", _progress, of_zip),
        )
    ]


def _calibrated(name: str, folder: Path) -> Path:
    from vidtok_edge.calib.methods import Range
    from vidtok_edge.calib.policy import DEFAULT_POLICY
    from vidtok_edge.calib.ranges import RANGES, LayerRanges, Ranges, TensorRanges
    from vidtok_edge.calib.resume import PROGRESS, CalibrationState, TensorKey

    data = _facts()
    if name == "policy":
        return DEFAULT_POLICY.save(folder, {"encoder.conv_in": "float"})
    if name == "ranges":
        both = TensorRanges(Range(-0.25, 3.5), Range(-3.25, 3.25))
        layers = (LayerRanges("conv_in", both, both),)
        Ranges(
            schema=1,
            toolkit="0",
            data=data,
            skipped=(),
            method="percentile",
            percentile=99.9,
            encoder=layers,
            decoder=layers,
        ).save(folder)
        return folder / RANGES
    state = CalibrationState(data)
    state.histogram(TensorKey("encoder", "conv_in", "input"))
    state.save(folder)
    return folder / PROGRESS


def _facts() -> DataFacts:
    from vidtok_edge.calib.clips import UsedClip
    from vidtok_edge.calib.ranges import DataFacts

    return DataFacts(
        variant="v",
        weights_sha256="0" * 64,
        height=64,
        width=96,
        frames_per_clip=None,
        clips=(UsedClip("a.mp4", "a" * 64, 8),),
    )


def _ranges(path: Path) -> None:
    from vidtok_edge.calib.ranges import Ranges

    Ranges.load(path.parent.parent)


def _policy(path: Path) -> None:
    from vidtok_edge.calib.policy import Policy

    layers = [f"encoder.down.{i}.conv" for i in range(100)]
    Policy.load(path).levels(layers)


def _progress(path: Path) -> None:
    from vidtok_edge.calib.resume import CalibrationState

    CalibrationState.load(path.parent.parent, _facts())
