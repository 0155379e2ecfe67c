"""Sessions whose events a test says, over a step in numpy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

from fake_sink import FakeSink
from fake_sources import FakeClock, frame
from fake_step import FakeStep, fake_manifest, tokens_from

from vidtok_edge.runtime import StreamEncoder
from vidtok_edge.runtime.session.options import RecordOptions
from vidtok_edge.runtime.session.recorder import Recorder
from vidtok_edge.runtime.sources import Captured, Ended, Event, Opened

__all__ = ["WALL", "FakeCaptures", "captured", "ended", "opened", "session", "streams_of", "tokens"]

WALL = 10**18  # ahead of the monotonic clock; as `fake_sources.frame` makes it


class FakeCaptures:
    """Gives events in order, then `more`, then None; `at` calls something before an event."""

    def __init__(
        self,
        *events: Event,
        more: Iterable[Event] = (),
        at: Mapping[int, Callable[[], object]] | None = None,
    ) -> None:
        self._events = iter(enumerate(chain(events, more)))
        self._at = at or {}
        self.closed = 0
        self.backlog = 0  # what a test says that waits

    def next(self, timeout_s: float | None = None, *, last: object = ()) -> Event | None:
        number, event = next(self._events, (-1, None))
        self._at.get(number, lambda: None)()
        return event

    def waiting(self) -> Iterator[Event]:
        for _ in range(self.backlog):
            if (event := self.next()) is not None:
                yield event

    def close(self) -> None:
        self.closed += 1


def opened(source: int = 0) -> Opened:
    return Opened(source, 0, WALL, 30, True)


def captured(*values: int, source: int = 0) -> Iterator[Captured]:
    for value in values:
        one = frame(value)
        yield Captured(source, one.capture_time_ns, one.wall_time_ns, one)


def ended(source: int = 0, error: Exception | None = None) -> Ended:
    return Ended(source, 0, WALL, error)


def session(
    captures: Any,
    *,
    streams: int = 1,
    chunk: int = 1,
    causal: bool = True,
    fail_after: int | None = None,
    before_run: Callable[[], object] = lambda: None,
    runs: Any = None,
    sink: FakeSink | None = None,
    clock: Any = None,
    progress: Any = None,
    notice: Any = lambda line: None,
    control: Any = None,
    data: Any = None,
    parts: Any = None,
    **options: Any,
) -> tuple[Recorder, FakeSink]:
    """A recorder, and the sink that it gives to; `runs`: where the step notes its calls."""
    step = FakeStep(
        fake_manifest(streams=streams, chunk=chunk, causal=causal),
        "encoder",
        fail_after,
        runs=[] if runs is None else runs,
        before_run=before_run,
    )
    sink = sink or FakeSink()
    recorder = Recorder(
        captures,
        StreamEncoder(step.manifest, step),
        [sink],
        [f"cam{i}" for i in range(streams)],
        RecordOptions(**options),
        clock=clock or FakeClock().clock,
        progress=progress,
        notice=notice,
        control=control,
        data=data,
        parts=parts,
    )
    return recorder, sink


def tokens(*values: int, chunk: int = 1, causal: bool = True) -> list[int]:
    return tokens_from(values, fake_manifest(chunk=chunk, causal=causal))


def streams_of(sink: FakeSink, source: int = 0) -> list[Any]:
    """The log of a source, its latents joined, without the times of starts."""
    joined: list[Any] = []
    for entry in (e for e in sink.log if e[0] == source):
        if entry[1] == "latent" and joined and isinstance(joined[-1], list):
            joined[-1].append(entry[2])
        elif entry[1] == "latent":
            joined.append([entry[2]])
        else:
            joined.append(
                entry[1] if entry[1] in ("start", "key", "reconnect", "restart") else entry[1:]
            )
    return joined
