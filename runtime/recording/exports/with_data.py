"""Episodes with the samples of data channels beside their latents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, count, groupby, islice
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.runtime.recording.data_rows import ChannelSamples, DataRequest, counted, data_of
from vidtok_edge.runtime.recording.exports.episodes import Episode, Row
from vidtok_edge.runtime.recording.format.reader import Recording
from vidtok_edge.runtime.recording.part import Part

__all__ = ["Data", "arrays_of", "events_of", "save_arrays"]


@dataclass(slots=True)
class Data:
    """Puts samples beside latents, and counts where some are missing."""

    request: DataRequest
    channels: Mapping[str, ChannelSamples]
    rows_without: Counter[str] = field(default_factory=Counter)
    """Latents that lack a value, by channel."""
    left_out: int = 0
    """Latents that are in no episode for that."""

    @classmethod
    def of(cls, recording: Recording, request: DataRequest) -> Data:
        """Read the channels of a recording. Raises RecordingError as `data_of`."""
        return cls(request, data_of(recording, request))

    def facts(self) -> dict[str, Any]:
        """For JSON; whole when the episodes were read."""
        return {
            **self.request.facts(),
            "latents_left_out": self.left_out,
            "channels": {
                name: {
                    **one,
                    "fields": list(self.channels[name].channel.fields),
                    "size": self.channels[name].channel.size,
                    "latents_without": self.rows_without[name],
                }
                for name, one in counted(self.channels).items()
            },
        }

    def __call__(self, episodes: Iterable[Episode]) -> Iterator[Episode]:
        """The same episodes, or parts of them, numbered anew."""
        if not self.channels:
            yield from episodes
            return
        numbers = count()
        for episode in episodes:
            rows = self._rows(episode)
            if self.request.missing == "keep":
                yield replace(episode, number=next(numbers), rows=rows)
                continue
            for whole, run in groupby(_windows(rows, episode), _has_all):
                every = chain.from_iterable(run)
                if whole:
                    yield replace(episode, number=next(numbers), rows=every)
                else:
                    self.left_out += sum(1 for _ in every)

    def _rows(self, episode: Episode) -> Iterator[Row]:
        own = {
            name: samples.beside_camera_of(episode.source.recording)
            for name, samples in self.channels.items()
        }
        before_ns: int | None = None
        for row in episode.rows:
            at_ns = row.latent.log_time_ns
            if before_ns is None:  # as long before as its frames take
                before_ns = at_ns - round(row.latent.frames_real / episode.fps * 1e9)
            beside = {
                name: samples.beside(before_ns, at_ns, self.request.align, self.request.max_age_s)
                for name, samples in own.items()
            }
            self.rows_without.update(name for name, one in beside.items() if one.missing)
            yield replace(row, beside=beside)
            before_ns = at_ns


def save_arrays(file: Path | IO[bytes], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write an npz file."""
    cast(Any, np.savez_compressed)(file, **arrays)


def _windows(rows: Iterator[Row], episode: Episode) -> Iterator[list[Row]]:
    """What is decoded together, and so stays together: of a causal tokenizer single latents."""
    while window := list(islice(rows, episode.source.tokenizer.window)):
        yield window


def _has_all(window: list[Row]) -> bool:
    return not any(one.missing for row in window for one in row.beside.values())


def events_of(recording: Recording, part: Part) -> list[dict[str, Any]]:
    """The events of data channels in a part, by their times, for JSON."""
    names = [name for name, one in recording.data_channels.items() if one.kind == "events"]
    found = [
        {
            "channel": sample.channel,
            "time_s": (sample.log_time_ns - recording.start_ns) / 1e9,
            "wall_time_ns": sample.wall_time_ns,
            "text": sample.text,
        }
        for name in names
        for sample in recording.samples(name)
        if part.holds(sample.log_time_ns)
    ]
    return sorted(found, key=lambda event: event["time_s"])


def arrays_of(rows: Sequence[Row]) -> dict[str, NDArray[Any]]:
    """What data channels have for some latents, as arrays; empty where there are none.

    For each channel: NAME.value float64 [n, d] and NAME.age_ns int64 [n], at the latents' times;
    NAME.sample_times_ns int64 [m] and NAME.samples float64 [m, d], all samples; NAME.first int64
    [n + 1]: latent i has the samples from first[i] to before first[i + 1].
    """
    arrays: dict[str, NDArray[Any]] = {}
    for name in rows[0].beside if rows else ():
        every = [row.beside[name] for row in rows]
        key = name.replace("/", ".")
        arrays[f"{key}.value"] = np.stack([one.value for one in every])
        arrays[f"{key}.age_ns"] = np.array([one.age_ns for one in every], np.int64)
        arrays[f"{key}.sample_times_ns"] = np.concatenate([one.times_ns for one in every])
        arrays[f"{key}.samples"] = np.concatenate([one.values for one in every])
        arrays[f"{key}.first"] = np.cumsum([0, *(len(one.times_ns) for one in every)])
    return arrays
