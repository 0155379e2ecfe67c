"""A long recording costs memory for what is known of each latent, and not for the latents."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from recordings import FSQ, record

pytest.importorskip("torch")

from vidtok_edge.datasets import TokenStream, TokenWindows
from vidtok_edge.runtime.recording.exports.exporting import export_recording

LARGE = replace(FSQ, height=256, width=256, grid_height=32, grid_width=32)
COUNT, CACHE = 1500, 1 << 20  # 3 MB of tokens


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("long") / "a.mcap"
    return record(path, COUNT, sources=1, tokenizer=LARGE, chunk=10)


@pytest.mark.slow
@pytest.mark.parametrize("format", ["recording", "npz", "webdataset", "lerobot", "parquet"])
def test_memory_is_that_of_the_cache(format: str, long: Path, tmp_path: Path) -> None:
    path = long
    if format != "recording":
        path = tmp_path / "set"
        export_recording(long, path, format)  # type: ignore[arg-type]
    TokenWindows(path, length=8)[0]  # what is imported and kept at the first
    tracemalloc.start()
    try:
        windows = TokenWindows(path, length=8, cache_bytes=CACHE)
        for store in windows.stores:
            store.block = min(store.block, 128)
        opened, _ = tracemalloc.get_traced_memory()
        assert opened < COUNT * 100, "bytes for each latent, of which it has 2048 of tokens"
        tracemalloc.reset_peak()
        for batch in TokenStream(windows, batch_size=4):
            assert batch["tokens"].shape[1:] == (8, 32, 32)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < opened + CACHE + 5 * 2**20
    assert np.dtype(np.uint16).itemsize * 1024 * COUNT > 2 * CACHE
