"""Two sides streamed side by side: what differs first is named, and nothing where nothing does."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from layered_bundle import shuffled_kernel
from tiny_golden import write_tiny_golden
from wrong_graphs import FAULTS, spoil

from vidtok_edge.errors import BackendUnavailable, BundleError, GoldenStreamError
from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.comparing.compare import Comparison, compare
from vidtok_edge.runtime.comparing.decibels import BEST_DB
from vidtok_edge.runtime.comparing.side import sides_of


def compared(folder: Path, backends: str, other: Path | None = None) -> Comparison:
    bundles = [Bundle.load(path) for path in (folder, other) if path is not None]
    return compare(sides_of(bundles, backends.split(",")), threads=1)


@pytest.fixture
def golden(tiny: Path) -> Path:
    """A tiny bundle with a golden stream: two streams, with `ready`."""
    write_tiny_golden(tiny)
    return tiny


def copied(folder: Path) -> Path:
    return Path(shutil.copytree(folder, folder.with_name("other")))


def test_a_bundle_and_its_copy_do_not_differ(golden: Path) -> None:
    done = compared(golden, "cpu", copied(golden))
    assert done
    encoder, decoder = done.halves
    assert (encoder.metric, decoder.metric) == ("tokens", "dB")
    assert set(encoder.results) == {1.0} and set(decoder.results) == {BEST_DB}
    names = {seen.name for call in encoder.seen for seen in call}
    assert names == {"the cache of cache_000", "latent"}, "known by number where no layer is told"
    assert {seen.db for half in done.halves for call in half.seen for seen in call} == {BEST_DB}
    assert encoder.phases[0] == "start" and encoder.phases[-1] == "tail"


def test_int8_differs_from_fp32_within_its_limits(layered: Path) -> None:
    done = compared(layered, "cpu:fp32,cpu:int8")
    assert done, done.halves[0].difference
    encoder = done.halves[0]
    assert 8 < encoder.lowest[1].db < 60, "INT8 rounds"
    assert "the cache of encoder.b" in {seen.name for seen in encoder.seen[0]}


def test_a_wrong_start_differs_in_the_first_call(golden: Path) -> None:
    other = copied(golden)
    spoil(other, "decoder", FAULTS["start"])
    done = compared(golden, "cpu", other)
    assert not done and done.halves[0], "halves are told apart"
    difference = done.halves[1].difference
    assert difference is not None and difference.call == 0
    assert difference.tensor == "new_cache_000"
    assert difference.text.startswith("decoder, call 0 (start): the cache of cache_000 has ")


@pytest.mark.parametrize("layer", ["a", "b", "d"])
def test_a_fault_shows_in_the_first_tensor_behind_it(layered: Path, layer: str) -> None:
    spoil(layered, "encoder", shuffled_kernel(layer), "int8")
    done = compared(layered, "cpu:fp32,cpu:int8")
    difference = done.halves[0].difference
    assert difference is not None
    assert difference.tensor in (["new_cache_000"] if layer == "a" else ["latent", "tokens"])


def test_the_sides_are_in_order(layered: Path) -> None:
    spoil(layered, "encoder", shuffled_kernel("a"), "int8")
    forth, back = compared(layered, "cpu:fp32,cpu:int8"), compared(layered, "cpu:int8,cpu:fp32")
    assert not forth and not back
    assert str(forth.sides[0]) == "cpu:fp32 of bundle" == str(back.sides[1])
    db = [half.lowest[1].db for half in (forth.halves[0], back.halves[0])]
    assert db[0] != db[1], "the signal is that of the first"


def test_progress_counts_what_went_in(golden: Path) -> None:
    told: list[tuple[int, int | None]] = []
    bundles = [Bundle.load(golden), Bundle.load(copied(golden))]
    compare(sides_of(bundles, ["cpu"]), progress=lambda done, total: told.append((done, total)))
    assert told == [(done + 1, 27) for done in range(27)]


@pytest.mark.parametrize(
    ("backends", "error", "said"),
    [
        ("cpu,cpu:int8", BundleError, "has no encoder graph in int8"),
        ("cpu,tensorrt", BackendUnavailable, "none was found here"),
    ],
)
def test_a_side_that_does_not_run_here(
    golden: Path, backends: str, error: type, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vidtok_edge.runtime.backends.engines.step.present_gpu", lambda: None)
    with pytest.raises(error, match=said):
        compared(golden, backends)


def test_a_bundle_without_a_golden_stream_cannot_be_streamed(tiny: Path) -> None:
    with pytest.raises(GoldenStreamError, match="has no golden stream"):
        compared(tiny, "cpu", copied(tiny))
