"""The frames that are streamed: they move, and begin anew without a jump."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from clips import make_clip
from fake_step import fake_manifest

from vidtok_edge.runtime.bench.measuring.frames import clip_frames, for_graph, moving_frames


def test_the_picture_moves_evenly_all_around() -> None:
    frames = moving_frames(24, 32, 48)
    assert {(f.shape, f.dtype.name, f.flags.c_contiguous) for f in frames} == {
        ((32, 48, 3), "uint8", True)
    }
    steps = [
        float(np.abs(a.astype(int) - b).mean())
        for a, b in zip(frames, frames[1:] + frames[:1], strict=True)
    ]
    assert min(steps) > 1 and max(steps) < 3 * min(steps), "also from the last to the first"
    assert all(f.std() > 20 for f in frames)
    assert np.array_equal(moving_frames(24, 32, 48)[7], frames[7])


def test_a_graph_of_floats_gets_floats() -> None:
    manifest = replace(fake_manifest(), io="float")
    [frame] = for_graph(manifest, [np.array([[[0, 51, 255]]], np.uint8)])
    assert frame.dtype == np.float32
    np.testing.assert_allclose(frame, [[[-1, -0.6, 1]]], atol=1e-6)


def test_the_start_of_a_clip(tmp_path: Path) -> None:
    make_clip(tmp_path / "clip.mkv", 8)
    frames = clip_frames(tmp_path / "clip.mkv", 5, 16, 24)
    assert len(frames) == 5 and frames[0].shape == (16, 24, 3)
