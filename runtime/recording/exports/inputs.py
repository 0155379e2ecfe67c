"""The recordings that become one export, each open while its episodes are read."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

from vidtok_edge.errors import RecordingError
from vidtok_edge.runtime.recording.data_rows import DataRequest, channels_of
from vidtok_edge.runtime.recording.exports.episodes import Episode, Gaps, Happened, episodes
from vidtok_edge.runtime.recording.exports.set_facts import (
    JITTER,
    Fields,
    SetFacts,
    require_same_fields,
)
from vidtok_edge.runtime.recording.exports.with_data import Data, events_of
from vidtok_edge.runtime.recording.format.data_channels import DataChannel
from vidtok_edge.runtime.recording.format.mcap_file import SourceFacts
from vidtok_edge.runtime.recording.format.reader import Recording
from vidtok_edge.runtime.recording.part import Part
from vidtok_edge.runtime.recording.playback import SourceClock, frame_rate, rate_doubt
from vidtok_edge.runtime.streaming.records import LatentRecord

__all__ = ["Inputs", "Told"]


@dataclass(slots=True, kw_only=True)
class Told:
    """What was found in a recording; whole when its episodes were read."""

    path: Path
    first_episode: int
    data: Data
    happened: list[Happened] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    episodes: int = 0
    damaged_bytes: int = 0
    unreadable: int = 0
    growing: bool = False
    doubts: tuple[str, ...] = ()

    def facts(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "sources": {
                str(told.source.number): {**told.source.to_map(), **told.facts()}
                for told in self.happened
            },
            "data": self.data.facts(),
            "events": self.events,
        }


@dataclass(slots=True, kw_only=True)
class Inputs:
    """A part of each of some recordings, one after another, as episodes numbered through.

    Args:
        paths: of the recordings, in the order of their episodes.
        source, start_s, end_s: as `Part.of` takes them, of each recording.
        first_episode: its number.
    """

    paths: Sequence[str | os.PathLike[str]]
    source: int | None
    start_s: float | None
    end_s: float | None
    gaps: Gaps
    data: DataRequest
    first_episode: int = 0
    told: list[Told] = field(default_factory=list)

    def __iter__(self) -> Iterator[Episode]:
        """Iterate once. Raises RecordingError as `Recording.open`, `Part.of` and `Data.of`."""
        number = self.first_episode
        for path in self.paths:
            with Recording.open(path) as recording:
                part = self.part_of(recording)
                data = Data.of(recording, self.data)
                told = Told(path=Path(path), first_episode=number, data=data)
                self.told.append(told)
                for episode in data(episodes(recording, self.gaps, told.happened, part)):
                    yield replace(episode, number=number)
                    number, told.episodes = number + 1, told.episodes + 1
                told.events = events_of(recording, part)
                told.damaged_bytes = sum(damage.length for damage in recording.damage)
                told.unreadable, told.growing = recording.unreadable, recording.growing
                doubts = [rate_doubt(recording, one.source.number) for one in told.happened]
                told.doubts = tuple(doubt for doubt in doubts if doubt is not None)

    def part_of(self, recording: Recording) -> Part:
        """The part of a recording that is read."""
        return Part.of(recording, source=self.source, start_s=self.start_s, end_s=self.end_s)

    def sources(self) -> list[tuple[SourceFacts, float]]:
        """All sources that have latents, each with its frames per second; before iterating."""
        found = []
        for path in self.paths:
            with Recording.open(path) as recording:
                for source in self.part_of(recording).sources:
                    entries = recording.entries(source.number)
                    if any(isinstance(entry, LatentRecord) for entry in entries):
                        found.append((source, frame_rate(recording, source.number)))
        return found

    def latents(self) -> int:
        """How many latents there are at most: some may be left out. Before iterating."""
        count = 0
        for path in self.paths:
            with Recording.open(path) as recording:
                part = self.part_of(recording)
                for source in part.sources:
                    clock = SourceClock.of(recording, source.number)
                    for entry in recording.entries(source.number, values=False):
                        count += isinstance(entry, LatentRecord) and part.holds(clock(entry))
        return count

    def set_facts(self) -> SetFacts | None:
        """What all have in common; None: none has a latent. Before iterating.

        Raises RecordingError: they have different tokenizers, rates or channels.
        """
        sources = self.sources()
        if not sources:
            return None
        tokenizer, rates = sources[0][0].tokenizer, [rate for _, rate in sources]
        if any(source.tokenizer != tokenizer for source, _ in sources):
            raise RecordingError("The sources have different tokenizers" + _ONE_ONLY)
        if max(rates) > JITTER * min(rates):
            found = ", ".join(f"{rate:.2f}" for rate in rates)
            raise RecordingError(
                f"The sources run at different rates ({found} frames/s)" + _ONE_ONLY
            )
        channels = self.channels()
        return SetFacts(
            tokenizer=tokenizer,
            latents_per_s=round(median(rates) / tokenizer.time_factor, 6),
            channels=_shapes(channels),
            fields=_fields(channels),
        )

    def channels(self) -> Mapping[str, DataChannel]:
        """The data channels that go along, which every recording has; before iterating.

        Raises RecordingError: one lacks a channel of the others, or has it with more or fewer
        values. DatasetError: with values that are called otherwise.
        """
        found: dict[str, DataChannel] | None = None
        for path in self.paths:
            with Recording.open(path) as recording:
                own = channels_of(recording, self.data)
            if found is not None and _shapes(found) != _shapes(own):
                raise RecordingError(
                    f"{path} has the data channels {_shown(own)}, and {self.paths[0]} "
                    f"{_shown(found)}: a dataset has one shape. Name those that both have with "
                    "--channels, or export each by itself."
                )
            require_same_fields(_fields(own), _fields(found or {}), path, self.paths[0])
            found = found or own
        return found or {}

    def facts(self) -> dict[str, Any]:
        """For JSON: of one recording, or of each."""
        if len(self.told) == 1:
            return self.told[0].facts()
        return {"recordings": self.recordings()}

    def recordings(self) -> list[dict[str, Any]]:
        """For JSON: of each recording, and where its episodes are."""
        return [
            {
                "file": told.path.name,
                "first_episode": told.first_episode,
                "episodes": told.episodes,
                **told.facts(),
            }
            for told in self.told
        ]


_ONE_ONLY = ", and a dataset has one. Export each with --source, or all to webdataset."


def _shapes(channels: Mapping[str, DataChannel]) -> dict[str, int]:
    return {name: channel.size for name, channel in channels.items()}


def _fields(channels: Mapping[str, DataChannel]) -> Fields:
    return {name: channel.fields for name, channel in channels.items() if channel.fields}


def _shown(channels: Mapping[str, DataChannel]) -> str:
    return ", ".join(f"{name} [{one.size}]" for name, one in channels.items()) or "of none"
