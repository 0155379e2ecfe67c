"""A narrow model, two small clips of noise, and their ranges; each made once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from clips import make_clip
from narrow import narrow

from vidtok_edge.calib.calibration import CalibrationRequest, calibrate
from vidtok_edge.calib.ranges import Ranges
from vidtok_edge.lowering.step import StepOptions
from vidtok_edge.vidtok_ref import VidTok

SIZE = (16, 24)
SHA256 = "0" * 64


@pytest.fixture(scope="session")
def model() -> VidTok:
    """FSQ, v1.1, causal, width 16; shared: do not change it."""
    return narrow("vidtok_fsq_causal_488_32768_v1_1", 16)


@pytest.fixture(scope="session")
def options() -> StepOptions:
    return StepOptions(*SIZE)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two clips of noise, 9 and 6 frames."""
    folder = tmp_path_factory.mktemp("clips")
    random = np.random.default_rng(0)
    for name, frames in (("a.mkv", 9), ("b.mkv", 6)):
        pixels = random.integers(0, 256, (frames, *SIZE, 3), np.uint8)
        make_clip(folder / name, pixels, size=SIZE, codec="ffv1")
    return folder


@pytest.fixture(scope="session")
def ranges(
    model: VidTok, options: StepOptions, data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Ranges:
    """Of the model, all that occurs on both clips."""
    request = CalibrationRequest(data, method="minmax")
    return calibrate(model, options, SHA256, tmp_path_factory.mktemp("ranges"), request).ranges
