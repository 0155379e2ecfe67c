"""Latents with gaps, of several slots: every frame is what it should be, at its time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from fake_step import FakeStep, fake_manifest, picture_content, pictures_from, tokens_from
from hypothesis import given
from hypothesis import strategies as st

from vidtok_edge.runtime import StreamDecoder
from vidtok_edge.runtime.manifest.manifest import Manifest
from vidtok_edge.runtime.streaming.framing import Framing
from vidtok_edge.runtime.streaming.gap_decoder import GapDecoder, TimedPicture

Latent = tuple[int, Any, list[int]]
"""Index, value, times of its frames."""


def gap_decoder(manifest: Manifest) -> GapDecoder:
    return GapDecoder(StreamDecoder(manifest, FakeStep(manifest, "decoder")))


def latents_of(frames: Sequence[int], manifest: Manifest) -> list[Latent]:
    """Frame v was captured at v seconds."""
    framing = Framing.of(manifest.model)
    tokens = tokens_from(list(frames), manifest)
    values = np.array(tokens, np.int32).reshape(-1, 1, 1)
    return [
        (i, value, [v * 10**9 for v in frames[framing.first_frame(i) : framing.first_frame(i + 1)]])
        for i, value in enumerate(values)
    ]


def whole(frames: Sequence[int], manifest: Manifest) -> list[tuple[int, int]]:
    return list(pictures_from(tokens_from(list(frames), manifest), len(frames), manifest))


@pytest.mark.parametrize("kind", [{}, {"version": "1.0"}, {"f": 8}])
def test_slots_do_not_mix(kind: dict[str, Any]) -> None:
    manifest = fake_manifest(streams=2, **kind)
    gaps = gap_decoder(manifest)
    frames = (range(0, 21), range(100, 133))
    todo = [latents_of(list(f), manifest) for f in frames]
    pictures: list[TimedPicture] = []
    for turn in range(max(map(len, todo))):
        for slot, latents in enumerate(todo):
            if turn < len(latents):
                pictures += gaps.push(slot, 0, *latents[turn])
            elif turn == len(latents):
                pictures += gaps.finish(slot)
    pictures += [p for slot in (0, 1) for p in gaps.finish(slot)]
    for slot in (0, 1):
        mine = [p for p in pictures if p.slot == slot]
        assert [picture_content(p.pixels) for p in mine] == whole(list(frames[slot]), manifest)
        assert [p.time_ns // 10**9 for p in mine] == list(frames[slot])
    assert (gaps.begun, gaps.broken) == (2, 0)


@given(st.data())
def test_whatever_is_missing_every_frame_that_comes_has_its_own_time(data: st.DataObject) -> None:
    kinds: list[dict[str, Any]] = [{}, {"version": "1.0"}, {"causal": False, "chunk": 2}]
    kind = data.draw(st.sampled_from(kinds))
    manifest = fake_manifest(**kind)
    gaps = gap_decoder(manifest)
    lengths = data.draw(st.lists(st.integers(1, 24), min_size=1, max_size=3))
    pictures: list[TimedPicture] = []
    number = lost = 0
    for stream, length in enumerate(lengths):
        frames = list(range(number, number + length))
        number += length
        for latent in latents_of(frames, manifest):
            if data.draw(st.booleans()):
                pictures += gaps.push(0, stream, *latent)
            else:
                lost += 1
    pictures += gaps.finish(0)
    times = [p.time_ns // 10**9 for p in pictures]
    assert times == sorted(set(times)) and set(times) <= set(range(number))
    of_latents = {picture.latent: picture for picture in pictures}  # the last of each
    assert [p for p in pictures if p.last] == list(of_latents.values())
    if not lost:
        assert times == list(range(number)) and gaps.broken == 0
    assert gaps.broken <= lost


def test_behind_a_gap_decoding_begins_anew() -> None:
    manifest = fake_manifest()
    gaps = gap_decoder(manifest)
    latents = latents_of(list(range(33)), manifest)
    pictures = [p for latent in latents[:3] + latents[5:] for p in gaps.push(0, 0, *latent)]
    pictures += gaps.finish(0)
    times = [p.time_ns // 10**9 for p in pictures]
    assert times == [*range(9), *range(20, 33)], "of latent 5 its last frame only"
    assert (gaps.begun, gaps.broken) == (2, 1)
