"""The benchmark of entering a recording anywhere, at small size."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import entry
import numpy as np
import pytest

from vidtok_edge.runtime import Bundle

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("embedded")]


def test_entries_are_exact_or_near_and_what_differs_is_seen(
    embedded: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reach = embedded.manifest.reach("decoder")
    assert reach is not None
    clip, played = entry.there_and_back, entry.played
    monkeypatch.setattr(
        entry, "there_and_back", lambda *given: islice(clip(*given), 4 * (reach + 4))
    )
    wholes: dict[Path, Any] = {}

    def once(decoder: Any, path: Path, start_s: float | None, *rest: Any) -> Any:
        if start_s is not None:
            return played(decoder, path, start_s, *rest)
        if path not in wholes:
            wholes[path] = played(decoder, path, None, *rest)
        return wholes[path]

    monkeypatch.setattr(entry, "played", once)
    monkeypatch.setattr(np.random, "default_rng", lambda seed: Late())
    path = entry.record(embedded, "fp32", "robot", 1, tmp_path / "a.mcap")
    found = entry.entered(embedded, "fp32", "robot", path, 1)
    assert (found.starts, found.equal) == (1, 1)
    assert 0 < found.decoded_before <= reach + 3
    near = [db for _, db in found.fast.values()]
    assert 20 < near[0] <= near[1] < 99

    def nearly(decoder: Any, path: Path, start_s: float | None, lead: Any, most: Any) -> Any:
        return once(decoder, path, start_s, None if start_s is None else 1, most)

    monkeypatch.setattr(entry, "played", nearly)
    assert entry.entered(embedded, "fp32", "robot", path, 1).equal == 0


class Late:
    """Random numbers that are the largest ones."""

    def integers(self, low: int, high: int, count: int) -> list[int]:
        return [high - 1 - i for i in range(count)]
