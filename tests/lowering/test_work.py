"""The work of a layer is what one counts by hand."""

from __future__ import annotations

import pytest

from vidtok_edge.lowering.interface import KINDS
from vidtok_edge.lowering.numerics import convolutions
from vidtok_edge.lowering.step import Kind, StepEncoder, StepOptions
from vidtok_edge.lowering.work import multiply_adds, share
from vidtok_edge.variants import EMBEDDED
from vidtok_edge.vidtok_ref import VidTok

OPTIONS = StepOptions(32, 48)


def test_work_counted_by_hand() -> None:
    work = multiply_adds(EMBEDDED, OPTIONS, "encoder")
    # 4 frames of 32x48, 16 channels out of 3, 27 taps
    assert work["encoder.conv_in"] == 4 * 32 * 48 * 16 * 3 * 27
    # the middle: 1 frame of 4x6, 96 channels
    assert work["encoder.mid.block_1.conv1"] == 4 * 6 * 96 * 96 * 27
    assert set(work) == set(convolutions(StepEncoder(VidTok(EMBEDDED), OPTIONS)))


def test_upsampling_in_phases_is_less_work() -> None:
    conv2d, conv3d = (
        multiply_adds(EMBEDDED, StepOptions(32, 48, form=form), "decoder")["decoder.up.3.upsample"]
        for form in ("conv2d", "conv3d")
    )
    assert conv2d * 9 == conv3d * 4


@pytest.mark.parametrize("kind", KINDS)
def test_shares_add_up(kind: Kind) -> None:
    layers = list(multiply_adds(EMBEDDED, OPTIONS, kind))
    assert share(EMBEDDED, OPTIONS, kind, layers) == 1
    halves = [share(EMBEDDED, OPTIONS, kind, layers[i::2]) for i in (0, 1)]
    assert sum(halves) == pytest.approx(1)
