"""The last seconds of a session, in memory: what an event begins with."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from vidtok_edge.runtime.recording.format.messages import bytes_from_latent, latent_from_bytes
from vidtok_edge.runtime.recording.format.tokenizer import Tokenizer
from vidtok_edge.runtime.session.samples import Logged
from vidtok_edge.runtime.streaming.records import LatentRecord, Marker, Picture, Record, Sample

__all__ = ["Held", "Ring", "renumbered"]

_OBJECT = 600
"""Bytes of memory beside those of the values, for whatever is held: about 300 were measured."""


Held = Record | Logged | Picture


@dataclass(slots=True, eq=False)
class _Run:
    """A stream of a source, from the marker that begins it, as bytes of the file's messages."""

    begun_ns: int
    last_ns: int
    held: list[tuple[int, Marker | bytes]] = field(default_factory=list)
    """Each with its place among all that came."""
    bytes: int = 0
    over: bool = False
    """Nothing more of the source comes before another stream begins."""


class Ring:
    """Keeps what came last, source by source from a marker on that begins a stream.

    So whatever is taken out of it can be decoded from its first latent on, to the bits of the whole
    session: nothing that is needed lies before. For that it holds more than its seconds, by at most
    the time between two keys.

    Args:
        tokenizer: of the latents.
        seconds: what is older is not kept.
        most_bytes: of memory, about; when there is more, the oldest goes, a stream at a time.
    """

    def __init__(self, tokenizer: Tokenizer, *, seconds: float, most_bytes: int) -> None:
        self._tokenizer = tokenizer
        self._keep_ns, self.most_bytes = round(seconds * 1e9), most_bytes
        self._runs: dict[int, deque[_Run]] = {}
        self._samples: deque[tuple[int, int, int, Logged | Picture]] = (
            deque()
        )  # place, arrival, bytes
        self._headless: set[int] = set()
        """Sources whose stream was let go while it ran: what comes of it is of no use."""
        self._place = 0
        self.bytes = 0
        """Of memory, about."""
        self.cut = 0
        """How often something younger than `seconds` went because the ring was full."""

    @property
    def begun_ns(self) -> int | None:
        """When the oldest stream began that is held, monotonic clock; None: there is none."""
        return min((runs[0].begun_ns for runs in self._runs.values() if runs), default=None)

    @property
    def has_stream(self) -> bool:
        """Whether it holds one, with which a file can begin."""
        return any(
            isinstance(first, Marker) and first.starts_stream
            for runs in self._runs.values()
            for run in runs
            for _, first in run.held[:1]
        )

    def take(self, record: Record) -> None:
        """Hold a latent or marker. StreamError: a latent of another tokenizer."""
        runs = self._runs.setdefault(record.source, deque())
        if isinstance(record, LatentRecord):
            data = bytes_from_latent(record, self._tokenizer)
            content: Marker | bytes = data
            at_ns, size = record.capture_time_ns, len(data) + _OBJECT
            if record.source in self._headless or not runs or runs[-1].over:
                return  # nothing can be decoded of it
        else:
            content, at_ns = record, record.time_ns
            size = len(record.detail) + _OBJECT
            if record.starts_stream:
                self._headless.discard(record.source)
            if record.starts_stream or not runs or runs[-1].over:
                runs.append(_Run(at_ns, at_ns, over=not record.starts_stream))
        run = runs[-1]
        run.held.append((self._place, content))
        self._place += 1
        run.last_ns, run.bytes = max(run.last_ns, at_ns), run.bytes + size
        run.over |= isinstance(record, Marker) and (record.kind in ("lost", "end") or record.paused)
        self.bytes += size

    def log(self, sample: Sample, fields: Sequence[str], now_ns: int) -> None:
        """Hold a sample that came now."""
        values = 0 if sample.values is None else sample.values.nbytes
        size = values + 4 * len(sample.text) + _OBJECT
        self._hold(Logged(sample, fields), size, now_ns)

    def show(self, picture: Picture, now_ns: int) -> None:
        """Hold a picture that was made now."""
        self._hold(picture, len(picture.jpeg) + _OBJECT, now_ns)

    def _hold(self, one: Logged | Picture, size: int, now_ns: int) -> None:
        self._samples.append((self._place, now_ns, size, one))
        self._place += 1
        self.bytes += size

    def trim(self, now_ns: int) -> None:
        """Let go what is too old or too much."""
        cutoff_ns = now_ns - self._keep_ns
        for runs in self._runs.values():
            while runs and _is_past(runs, cutoff_ns):
                self.bytes -= runs.popleft().bytes
        oldest_ns = self.begun_ns
        oldest_ns = cutoff_ns if oldest_ns is None else min(oldest_ns, cutoff_ns)
        while self._samples and self._samples[0][1] < oldest_ns:
            self.bytes -= self._samples.popleft()[2]
        while self.bytes > self.most_bytes:
            self._let_oldest_go()

    def taken(self) -> list[Held]:
        """All that is held, in the order in which it came; then nothing is."""
        held: list[tuple[int, Held]] = [(place, one) for place, _, _, one in self._samples]
        for source, runs in self._runs.items():
            for run in runs:
                held += [(place, self._record(source, content)) for place, content in run.held]
        self._runs.clear()
        self._samples.clear()
        self.bytes = 0
        return [one for _, one in sorted(held, key=lambda pair: pair[0])]

    def _record(self, source: int, content: Marker | bytes) -> Record:
        if isinstance(content, Marker):
            return content
        return latent_from_bytes(content, source, self._tokenizer, log_time_ns=0)

    def _let_oldest_go(self) -> None:
        self.cut += 1
        source = min(
            (source for source, runs in self._runs.items() if runs),
            key=lambda source: self._runs[source][0].begun_ns,
            default=None,
        )
        runs = self._runs[source] if source is not None else deque[_Run]()
        if self._samples and not (runs and runs[0].begun_ns <= self._samples[0][1]):
            self.bytes -= self._samples.popleft()[2]
            return
        assert source is not None, "bytes are of runs or samples"
        if len(runs) == 1 and not runs[0].over:
            self._headless.add(source)
        self.bytes -= runs.popleft().bytes


def _is_past(runs: deque[_Run], cutoff_ns: int) -> bool:
    """Whether the first of them is not needed for what is younger than a time."""
    first = runs[0]
    if len(runs) == 1:
        return first.over and first.last_ns < cutoff_ns
    return runs[1].begun_ns <= cutoff_ns or first.last_ns < cutoff_ns


def renumbered(record: Record, *, streams: int, latents: int) -> Record:
    """A record in a file that begins after so many streams and latents of its source."""
    if isinstance(record, LatentRecord):
        return replace(record, stream=record.stream - streams)
    return replace(record, stream=max(0, record.stream - streams), latents=record.latents - latents)
