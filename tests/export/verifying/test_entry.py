"""Decoding that begins in the middle: nearer the earlier it begins, equal from the reach on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vidtok_edge.export.verifying import entry
from vidtok_edge.export.verifying.entry import compare_entries, entry_qualities
from vidtok_edge.export.verifying.step_pair import open_pair
from vidtok_edge.runtime import Bundle, StreamDecoder
from vidtok_edge.runtime.backends.backend import Backend

pytestmark = pytest.mark.xdist_group("embedded")


@pytest.mark.slow
def test_a_longer_lead_is_nearer_and_the_reach_is_enough(
    embedded: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = embedded.manifest
    reach = manifest.reach("decoder")
    assert reach is not None
    monkeypatch.setattr(entry, "LEADS", (1, 4, reach, 1000))
    tokens = np.random.default_rng(3).integers(0, 32768, (reach + 6, 8, 12), np.int32)
    with open_pair(embedded, Backend.ONNXRUNTIME) as pair:
        decoder = StreamDecoder(manifest, pair.decoder)
        pictures = decoder.push_values(tokens) + decoder.finish()
        frames = np.stack([picture.pixels for picture in pictures])
        found = entry_qualities(manifest, pair, tokens, frames)
        assert [one.lead for one in found] == [1, 4, reach], "as far as the stream goes back"
        worth = [one.psnr_db for one in found]
        assert worth[0] < worth[1] < worth[2] == 99
        without_tail = entry_qualities(manifest, pair, tokens, frames[:-2])
        assert without_tail[0].psnr_db < 99, "of the last latent that is whole"
    rows = compare_entries(found)
    assert [row.value for row in rows] == worth and all(rows)


def test_a_window_is_not_entered(embedded: Bundle) -> None:
    manifest = embedded.manifest
    windows = replace(manifest, model=replace(manifest.model, causal=False))
    with open_pair(embedded, Backend.ONNXRUNTIME) as pair:
        nothing = np.zeros((4, 8, 12), np.int32)
        assert entry_qualities(windows, pair, nothing, np.zeros((13, 64, 96, 3), np.uint8)) == ()
