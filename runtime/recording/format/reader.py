"""A recording, read lazily and with distrust; one that was cut off as well as a whole one."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterator, Mapping
from contextlib import suppress
from functools import cached_property, partial
from itertools import pairwise

from vidtok_edge.bounded import TooMuchWork
from vidtok_edge.errors import MissingDependency, RecordingError
from vidtok_edge.runtime.recording.format.coded_runs import CodedRuns, Wanted
from vidtok_edge.runtime.recording.format.contents import contents_of
from vidtok_edge.runtime.recording.format.data_channels import (
    DataChannel,
    data_channel_of,
    sample_from_bytes,
)
from vidtok_edge.runtime.recording.format.growing_file import is_growing
from vidtok_edge.runtime.recording.format.mcap_file import ChannelKind, Foreign, SourceFacts
from vidtok_edge.runtime.recording.format.messages import latent_from_bytes, marker_from_bytes
from vidtok_edge.runtime.recording.format.places import ChunkPlace, Damage
from vidtok_edge.runtime.recording.format.scan import Scan
from vidtok_edge.runtime.recording.format.seen import Seen
from vidtok_edge.runtime.streaming.records import Marker, Record, Sample

try:
    from mcap.records import Attachment, Message, Metadata
except ImportError:
    raise MissingDependency("mcap", "record", "A recording") from None

__all__ = ["Recording"]

Values = bool | Wanted


class Recording:
    """A recording that is open for reading; a context manager.

        with Recording.open("drive.mcap") as recording:
            for entry in recording.entries(source=0): ...

    Times of the recording (`start_ns`, `log_time_ns`) never jump: they are wall clock time at the
    first event, and run with the monotonic clock from there.

    Attributes:
        sources: by number; one whose facts are lost is called unknown. Of recordings that were
            merged, a source whose number another one has gets a number behind all.
        indexed: the file was finished and has its index; else it was read through to find the
            chunks.
        damage: bytes that could not be read. It grows while entries are read.
        chunks: where the chunks lie, in the order of reading.
        growing: it is still being recorded to.
        left_out: what else lies in a file that was read through, and is not in `others`: how many.
    """

    def __init__(self, scan: Scan, *, use_index: bool = True) -> None:
        self.path = scan.path
        self._damaged: set[int] = set()  # places of chunks that are among `damage`
        self._unreadable: set[tuple[int, int]] = set()  # chunk, and which of its messages
        self._scan = scan
        self.growing = is_growing(scan.path)
        contents = contents_of(scan, use_index=use_index)
        self.sources, self.chunks = contents.sources, contents.chunks
        self.indexed = contents.indexed
        self.damage, self.left_out = contents.damage, contents.left_out
        self._channels, self._others = contents.channels, contents.others
        self._seen_before: dict[int, Seen] = {}  # by the place of the chunk that follows

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, use_index: bool = True) -> Recording:
        """Open a recording. `use_index` False: read it through even when it has an index.

        Raises:
            RecordingError: there is no such file, or nothing of a recording in it.
        """
        scan = Scan(path)
        try:
            return cls(scan, use_index=use_index)
        except BaseException:
            scan.close()
            raise

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._scan.close()

    @property
    def start_ns(self) -> int:
        """Time of the first entry; 0 where there is none."""
        return self._span[0]

    @property
    def end_ns(self) -> int:
        """Time of the last entry; 0 where there is none."""
        return self._span[1]

    @cached_property
    def _span(self) -> tuple[int, int]:
        if not self._channels.has_foreign:
            first = min((chunk.start_ns for chunk in self.chunks), default=0)
            return first, max((chunk.end_ns for chunk in self.chunks), default=0)
        return self._edge(1), -self._edge(-1)

    def _edge(self, sign: int) -> int:
        """Time of the first of our messages; `sign` -1: of the last, negative."""
        best: int | None = None
        bounds = [(c.start_ns if sign > 0 else -c.end_ns, c.offset, c) for c in self.chunks]
        for bound, _, chunk in sorted(bounds, key=lambda found: found[:2]):
            if best is not None and best <= bound:
                break
            for message in self._all_messages_in(chunk):
                owner = self._channels.owner(message.channel_id, chunk.offset)
                if isinstance(owner, tuple) and (best is None or sign * message.log_time < best):
                    best = sign * message.log_time
        return best or 0

    def source(self, number: int) -> SourceFacts:
        """The facts of a source. RecordingError: there is none of that number."""
        if number not in self.sources:
            have = ", ".join(f"{s.number} ({s.name})" for s in self.sources.values())
            refused = (
                f" One is not read: {self._channels.failure}" if self._channels.failure else ""
            )
            raise RecordingError(f"{self.path} has no source {number}; it has {have}.{refused}")
        return self.sources[number]

    def entries(
        self,
        source: int | None = None,
        *,
        start_ns: int | None = None,
        end_ns: int | None = None,
        values: Values = True,
    ) -> Iterator[Record]:
        """What was recorded, in the order of writing: latents, and markers between them.

        Args:
            source: of this source alone.
            start_ns, end_ns: entries from `start_ns` to before `end_ns`, as `log_time_ns` counts.
            values: False: latents have none; where tokens are coded this is faster by far. A
                function is told of each latent without them, and says whether they are read.
        """
        for _, entry in self.messages(source, start_ns=start_ns, end_ns=end_ns, values=values):
            yield entry

    def messages(
        self,
        source: int | None = None,
        *,
        start_ns: int | None = None,
        end_ns: int | None = None,
        values: Values = True,
    ) -> Iterator[tuple[Message, Record]]:
        """As `entries`, each with the MCAP message it lies in; at most one chunk is in memory."""
        start, end = start_ns or 0, 1 << 64 if end_ns is None else end_ns
        runs = self._runs(start, None if values is True else values) if values else None
        for chunk in self.chunks:
            if chunk.end_ns >= start and chunk.start_ns < end:
                yield from self._messages_in(chunk, source, start, end, runs)

    def _runs(self, start_ns: int = 0, wanted: Wanted | None = None) -> CodedRuns:
        """The coders of all sources, for reading from a time on."""

        def earlier(source: int) -> Iterator[bytes]:
            for chunk in reversed([one for one in self.chunks if one.end_ns < start_ns]):
                found = [
                    message.data
                    for message in self._all_messages_in(chunk)
                    if self._channels.owner(message.channel_id, chunk.offset) == (source, "latents")
                ]
                yield from reversed(found)

        return CodedRuns(self.sources, self._scan.size, earlier, wanted)

    @cached_property
    def data_channels(self) -> Mapping[str, DataChannel]:
        """The data channels by name.

        Raises RecordingError: one is damaged or of a later format, or two of a name differ.
        """
        found: dict[str, DataChannel] = {}
        for one in self._channels.foreign:
            try:
                channel = data_channel_of(one)
            except RecordingError as error:
                raise RecordingError(f"{self.path}: {error}.") from None
            if channel is None:
                continue
            before = found.setdefault(channel.name, channel)
            if before.fields and channel.fields and before.fields != channel.fields:
                raise RecordingError(
                    f"{self.path} has two data channels {channel.name}, whose values are "
                    f"{', '.join(before.fields):.200}, and {', '.join(channel.fields):.200}: a "
                    "channel has one meaning. Keep these recordings apart."
                )
            if (before.kind, before.size) != (channel.kind, channel.size):
                raise RecordingError(
                    f"{self.path} has two data channels {channel.name}: {before.size} "
                    f"{before.kind}, and {channel.size} {channel.kind}. Join them under two names."
                )
        return found

    def data_channel(self, name: str) -> DataChannel:
        """The data channel of a name. RecordingError: there is none."""
        if name not in self.data_channels:
            have = ", ".join(sorted(self.data_channels)) or "none"
            raise RecordingError(f"{self.path} has no data channel {name!r}; it has {have}.")
        return self.data_channels[name]

    def data_of(self, foreign: Foreign) -> DataChannel | None:
        """The data channel that a channel of `everything` is; None: somebody else's."""
        return self._data.get(foreign.number)

    def samples(
        self,
        channel: str | None = None,
        *,
        start_ns: int | None = None,
        end_ns: int | None = None,
        recording: str | None = None,
    ) -> Iterator[Sample]:
        """What data channels hold, in the order of writing.

        Args:
            channel: of this one alone.
            start_ns, end_ns: from `start_ns` to before `end_ns`, as `log_time_ns` counts.
            recording: what this one of several that were merged has, as `DataChannel` calls it.

        Raises RecordingError: as `data_channels`, or there is no such channel.
        """
        names = self.data_channels if channel is None else [self.data_channel(channel).name]
        start, end = start_ns or 0, 1 << 64 if end_ns is None else end_ns
        wanted = {
            number: one
            for number, one in self._data.items()
            if one.name in names and recording in (None, one.recording)
        }
        for chunk in self.chunks if wanted else ():
            if chunk.end_ns >= start and chunk.start_ns < end:
                yield from self._samples_in(chunk, wanted, start, end)

    def recordings_with(self, channel: str) -> list[str]:
        """Which recordings have a data channel of that name: several, where they were merged."""
        return sorted({one.recording for one in self._data.values() if one.name == channel})

    def _samples_in(
        self, chunk: ChunkPlace, wanted: Mapping[int, DataChannel], start: int, end: int
    ) -> Iterator[Sample]:
        for number, message in enumerate(self._all_messages_in(chunk)):
            owner = self._channels.owner(message.channel_id, chunk.offset)
            channel = wanted.get(owner.number) if isinstance(owner, Foreign) else None
            if channel is None or not start <= message.log_time < end:
                continue
            try:
                yield sample_from_bytes(message.data, channel, message.log_time)
            except RecordingError:
                self._unreadable.add((chunk.offset, number))

    @cached_property
    def _data(self) -> Mapping[int, DataChannel]:
        """By the number of the channel that is no camera's; without those that are damaged."""
        found = {}
        for one in self._channels.foreign:
            with suppress(RecordingError):
                if (channel := data_channel_of(one)) is not None:
                    found[one.number] = channel
        return found

    def stream_start(self, source: int, at_ns: int) -> Marker | None:
        """The last marker up to `at_ns` that begins a stream of `source`."""
        early = [chunk for chunk in self.chunks if chunk.start_ns <= at_ns]
        for chunk in sorted(early, key=lambda chunk: chunk.start_ns, reverse=True):
            begins = [
                entry
                for _, entry in self._messages_in(chunk, source, 0, at_ns + 1, None)
                if isinstance(entry, Marker) and entry.starts_stream
            ]
            if begins:
                return begins[-1]
        return None

    @property
    def unreadable(self) -> int:
        """Messages in sound chunks, as far as they were read, that made no sense."""
        return len(self._unreadable)

    def _messages_in(
        self, chunk: ChunkPlace, source: int | None, start: int, end: int, runs: CodedRuns | None
    ) -> Iterator[tuple[Message, Record]]:
        for message, entry in self._everything_in(chunk, source, start, end, runs):
            if not isinstance(entry, Foreign):
                yield message, entry

    def everything(self) -> Iterator[tuple[Message, Record | Foreign]]:
        """As `messages`, with those of channels that are not ours."""
        runs = self._runs()
        for chunk in self.chunks:
            yield from self._everything_in(chunk, None, 0, 1 << 64, runs)

    def others(self) -> Iterator[Attachment | Metadata]:
        """Attachments and metadata of others in a file that was read through.

        What is damaged or too large is counted in `left_out`.
        """
        for place in self._others:
            try:
                record = self._scan.other(place)
            except TooMuchWork as error:
                raise self._scan.too_costly(error) from None
            if record is None:
                self.left_out[place.what] += 1
            else:
                yield record

    def _everything_in(
        self, chunk: ChunkPlace, source: int | None, start: int, end: int, runs: CodedRuns | None
    ) -> Iterator[tuple[Message, Record | Foreign]]:
        """`runs` None: latents have no values."""
        for number, message in enumerate(self._all_messages_in(chunk)):
            owner = self._channels.owner(message.channel_id, chunk.offset)
            if not start <= message.log_time < end:
                if runs is not None and isinstance(owner, tuple) and owner[1] == "latents":
                    runs.leave_out(owner[0], message.data)
                continue
            if isinstance(owner, Foreign):
                yield message, owner
                continue
            try:
                entry = self._entry(message, owner, source, runs)
            except TooMuchWork as error:
                raise self._scan.too_costly(error) from None
            except RecordingError:
                self._unreadable.add((chunk.offset, number))
                continue
            if entry is not None:
                yield message, entry

    def _all_messages_in(self, chunk: ChunkPlace) -> Iterator[Message]:
        """Up to the first record that makes no sense; the chunk then counts as damaged.

        What is ours and there twice, as where cuts of a recording that overlap were merged, is
        given once: tools put it side by side, by its time.
        """
        seen = Seen(self._seen_before.get(chunk.offset))
        try:
            for record in self._scan.records(chunk):
                if isinstance(record, Message) and not seen.again(
                    record, partial(self._owner_of, record, chunk)
                ):
                    yield record
            if (after := self._after.get(chunk.offset)) is not None:
                self._seen_before = {after: seen}
        except TooMuchWork as error:
            raise self._scan.too_costly(error) from None
        except RecordingError:
            if chunk.offset not in self._damaged:
                self._damaged.add(chunk.offset)
                self.damage.append(Damage(chunk.offset, chunk.length))

    def _owner_of(self, message: Message, chunk: ChunkPlace) -> Hashable:
        """Whose a message is; None: somebody else's."""
        owner = self._channels.owner(message.channel_id, chunk.offset)
        if not isinstance(owner, Foreign):
            return owner
        data = self.data_of(owner)
        return None if data is None else (data.name, data.recording)

    @cached_property
    def _after(self) -> Mapping[int, int]:
        """Where the chunk behind each lies."""
        return {one.offset: then.offset for one, then in pairwise(self.chunks)}

    def _entry(
        self,
        message: Message,
        owner: tuple[int, ChannelKind] | None,
        source: int | None,
        runs: CodedRuns | None,
    ) -> Record | None:
        """The entry in a message; None: it is of another source than `source`."""
        if owner is None:
            raise RecordingError(f"nothing says whose channel {message.channel_id} is")
        number, kind = owner
        if source not in (None, number):
            return None
        if kind == "markers":
            return marker_from_bytes(message.data, number, message.log_time)
        facts = self.sources[number]
        data, at_ns = message.data, message.log_time
        if runs is None or runs.wanted is not None:
            head = latent_from_bytes(
                data, number, facts.tokenizer, at_ns, facts.coder(), values=False
            )
            if runs is None or not (runs.wanted and runs.wanted(head)):
                if runs is not None:
                    runs.leave_out(number, data)
                return head
        coder = runs.coder(number, data)
        return latent_from_bytes(data, number, facts.tokenizer, at_ns, coder)
