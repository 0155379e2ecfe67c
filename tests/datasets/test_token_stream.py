"""Streams and samplers: workers and ranks share an epoch, and a checkpoint goes on exactly."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from recordings import FSQ, SECOND, WALL, latents, record, write

torch = pytest.importorskip("torch")

from token_batches import firsts, flat, loaded, train  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402

from vidtok_edge.datasets import TokenStream, TokenWindows, WindowSampler  # noqa: E402
from vidtok_edge.errors import UsageError  # noqa: E402
from vidtok_edge.runtime.recording import RecordingWriter  # noqa: E402
from vidtok_edge.runtime.recording.exports.exporting import (  # noqa: E402
    Format,
    export_recording,
)
from vidtok_edge.runtime.streaming.records import SourceRecords  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),  # on a machine of few cores
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning"),
]
COUNT = 23  # windows


@pytest.fixture(scope="module")
def windows(tmp_path_factory: pytest.TempPathFactory) -> TokenWindows:
    path = record(tmp_path_factory.mktemp("stream") / "a.mcap", COUNT + 1, sources=1)
    return TokenWindows(path, length=2)


@pytest.mark.parametrize("workers", [0, 1, 2, 3])
def test_batches_are_the_same_with_any_number_of_workers(
    workers: int, windows: TokenWindows
) -> None:
    windows[0]  # its file is open when workers are forked
    stream = TokenStream(windows, batch_size=4, seed=1)
    expected = firsts(stream)
    assert sorted(flat(expected)) == list(range(COUNT))
    loader = loaded(stream, workers)
    assert len(loader) == 6 and firsts(loader) == expected == firsts(loader)
    stream.set_epoch(1)
    assert firsts(loader) == firsts(stream) != expected


@pytest.mark.slow
def test_workers_that_are_spawned_and_live_on(windows: TokenWindows) -> None:
    stream = TokenStream(windows, batch_size=4, seed=1)
    loader = loaded(
        stream,
        2,
        multiprocessing_context=multiprocessing.get_context("spawn"),
        persistent_workers=True,
    )
    for epoch in range(2):
        stream.set_epoch(epoch)
        assert firsts(loader) == firsts(stream)
    stream.load_state_dict(stream.state_dict(taken=2))
    assert firsts(loader) == firsts(stream)
    assert len(firsts(stream)) == 4


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_each_window_is_read_once_over_all(ranks: int, workers: int, windows: TokenWindows) -> None:
    found = []
    for rank in range(ranks):
        stream = TokenStream(windows, batch_size=2, rank=rank, world_size=ranks)
        found += flat(firsts(loaded(stream, workers)))
    assert sorted(found) == list(range(COUNT))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("taken", [0, 1, 3, 6])
def test_a_checkpoint_goes_on_exactly(taken: int, workers: int, windows: TokenWindows) -> None:
    stream = TokenStream(windows, batch_size=4, seed=5)
    stream.set_epoch(2)
    expected = firsts(stream)
    stream.set_epoch(2)
    batches = iter(loaded(stream, workers))
    before = firsts(next(batches) for _ in range(taken))
    state = stream.state_dict(taken if workers else None)
    again = TokenStream(windows, batch_size=4, seed=5)
    again.load_state_dict(state)
    assert before + firsts(loaded(again, workers)) == expected
    assert again.state_dict(0) == state
    again.set_epoch(3)
    assert len(firsts(again)) == 6


def test_workers_do_not_tell_how_far_the_trainer_is(windows: TokenWindows) -> None:
    stream = TokenStream(windows, batch_size=4)
    firsts(loaded(stream, 2))
    with pytest.raises(UsageError, match=r"state_dict\(taken\)"):
        stream.state_dict()
    stream.set_epoch(1)
    assert stream.state_dict()["done"] == 0


def test_a_negative_count_is_refused(windows: TokenWindows) -> None:
    with pytest.raises(UsageError, match="taken is -1"):
        TokenStream(windows).state_dict(-1)


@pytest.mark.parametrize("given", [[0, 0], [1, 0], [1, 1], [2, 1], [3, 3]])
def test_workers_that_are_asked_by_themselves(
    given: list[int], windows: TokenWindows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a StatefulDataLoader does: worker w of two gave `given[w]` batches."""
    info = SimpleNamespace(id=0, num_workers=2)
    expected = firsts(TokenStream(windows, batch_size=4, seed=5))
    monkeypatch.setattr("vidtok_edge.datasets.stream.get_worker_info", lambda: info)
    for info.id, count in enumerate(given):
        stream = TokenStream(windows, batch_size=4, seed=5)
        batches = iter(stream)
        before = firsts(next(batches) for _ in range(count))
        again = TokenStream(windows, batch_size=4, seed=5)
        again.load_state_dict(stream.state_dict())
        assert again.state_dict() == stream.state_dict()
        assert before + firsts(again) == expected[info.id :: 2]
        assert firsts(again) == expected[info.id :: 2], "the next pass is a whole one"
    state = again.state_dict()
    info.id = 0
    with pytest.raises(UsageError, match="that of worker 1 of 2, and this is worker 0 of 2"):
        again.load_state_dict(state)
    monkeypatch.undo()
    with pytest.raises(UsageError, match="that of worker 1 of 2, and this is no worker"):
        again.load_state_dict(state)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("taken", [0, 1, 4])
def test_a_stateful_loader_goes_on_exactly(taken: int, workers: int, windows: TokenWindows) -> None:
    loaders = pytest.importorskip("torchdata.stateful_dataloader", reason="torchdata's own loader")

    def loader() -> Any:
        stream = TokenStream(windows, batch_size=4, seed=5)
        return loaders.StatefulDataLoader(stream, batch_size=None, num_workers=workers)

    expected, first, then = firsts(loader()), loader(), loader()
    batches = iter(first)
    before = firsts(next(batches) for _ in range(taken))
    then.load_state_dict(first.state_dict())
    assert before + firsts(then) == expected


def test_a_checkpoint_of_a_checkpoint(windows: TokenWindows) -> None:
    stream = TokenStream(windows, batch_size=3, seed=5)
    expected, found = firsts(stream), []
    stream.set_epoch(0)
    while len(stream):
        found += firsts([next(iter(stream))])
        stream.load_state_dict(stream.state_dict())
    assert found == expected


def test_other_ranks_go_on(windows: TokenWindows) -> None:
    ranks = [TokenStream(windows, batch_size=2, rank=r, world_size=2, seed=9) for r in range(2)]
    found = []
    for stream in ranks:
        batches = iter(stream)
        found += flat(firsts(next(batches) for _ in range(3)))
    states = [stream.state_dict() for stream in ranks]
    assert states[0] == states[1]
    for rank in range(3):
        stream = TokenStream(windows, batch_size=3, rank=rank, world_size=3, seed=9)
        stream.load_state_dict(states[0])
        found += flat(firsts(stream))
    assert sorted(found) == list(range(COUNT))


def test_a_sampler_shuffles_a_map_style_dataset(windows: TokenWindows) -> None:
    sampler = WindowSampler(windows, seed=1)
    loader = DataLoader(
        windows, batch_size=4, sampler=sampler, num_workers=2, multiprocessing_context="fork"
    )
    expected = firsts(TokenStream(windows, batch_size=4, seed=1))
    assert firsts(loader) == expected
    assert len(sampler) == COUNT
    sampler.load_state_dict(sampler.state_dict(taken=8))
    assert firsts(loader) == expected[2:]
    shares = [WindowSampler(windows, rank=r, world_size=2, even=True) for r in range(2)]
    assert [len(share) for share in shares] == [11, 11]
    assert not {*shares[0]} & {*shares[1]}


def test_states_of_something_else_are_refused(windows: TokenWindows, tmp_path: Path) -> None:
    stream = TokenStream(windows, seed=1)
    state = stream.state_dict()
    other = TokenWindows(record(tmp_path / "a.mcap", 5, sources=1), length=2)
    with pytest.raises(UsageError, match="windows was 23; here it is 4"):
        TokenStream(other, seed=1).load_state_dict(state)
    with pytest.raises(UsageError, match="seed was 1; here it is 2"):
        TokenStream(windows, seed=2).load_state_dict(state)
    with pytest.raises(UsageError, match="fingerprint was"):
        TokenStream(windows, seed=1).load_state_dict(state | {"fingerprint": "0"})
    with pytest.raises(UsageError, match="what state_dict"):
        stream.load_state_dict({"epoch": 1})
    with pytest.raises(UsageError, match="24 of 23 windows"):
        stream.load_state_dict(state | {"done": 24})
    with pytest.raises(UsageError, match="epoch is -1"):
        stream.set_epoch(-1)


def test_which_rank_this_is(
    windows: TokenWindows, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="both, or neither"):
        TokenStream(windows, rank=1)
    before = TokenStream(windows)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="would read every window"):
        TokenStream(windows)
    distributed = torch.distributed
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_rank", lambda: 1)
    monkeypatch.setattr(distributed, "get_world_size", lambda: 2)
    stream = TokenStream(windows)
    assert (stream.schedule.rank, stream.schedule.world_size) == (1, 2)
    assert len(firsts(stream)) == COUNT // 2
    with pytest.raises(UsageError, match="rank 1 of 2, and was 0 of 1"):
        next(iter(before))


@pytest.mark.slow
def test_two_processes_that_torch_started(windows: TokenWindows, tmp_path: Path) -> None:
    path = windows.windows.runs[0].store.path
    torch.multiprocessing.spawn(train, (2, str(path), str(tmp_path)), nprocs=2)
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    assert sorted(found[0] + found[1]) == list(range(COUNT))
    assert abs(len(found[0]) - len(found[1])) <= 2


@pytest.mark.parametrize("format", [None, "npz", "webdataset", "lerobot", "parquet"])
def test_a_state_is_refused_where_recordings_come_in_another_order(
    format: Format | None, tmp_path: Path
) -> None:
    """Two of one length, as parts are: windows would be skipped, and others repeated."""
    paths = []
    for n in range(2):
        paths.append(tmp_path / f"{n}.mcap")
        with RecordingWriter(paths[-1], FSQ, ["cam"], flush_interval_s=1000) as writer:
            camera, wall_ns = SourceRecords(0), n * SECOND
            writer.take(camera.start("start", 0, WALL + wall_ns, fps=40))
            for i in range(4):
                write(writer, camera, latents(0, i, wall_jump_ns=wall_ns))
        if format is not None:
            export_recording(paths[-1], tmp_path / f"set{n}", format)
            paths[-1] = tmp_path / f"set{n}"
    state = TokenStream(TokenWindows(paths, length=2)).state_dict()
    TokenStream(TokenWindows(paths, length=2)).load_state_dict(state)
    with pytest.raises(UsageError, match="fingerprint was"):
        TokenStream(TokenWindows(paths[::-1], length=2)).load_state_dict(state)
