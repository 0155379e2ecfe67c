"""The samples of data channels that belong to a latent: the row map of every export.

Everything is told by `log_time_ns`, the clock that latents and samples of a recording share and
that never jumps: of a latent it is when its last real frame was captured. A latent has the samples
after the latent before it, up to its own time; and of each channel one value at its time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.errors import RecordingError, UsageError
from vidtok_edge.runtime.recording.format.data_channels import DataChannel
from vidtok_edge.runtime.recording.format.reader import Recording

__all__ = [
    "NONE_NS",
    "Align",
    "Beside",
    "ChannelSamples",
    "DataRequest",
    "Missing",
    "channels_of",
    "counted",
    "data_of",
]

Align = Literal["last", "interpolate"]
"""The value of a latent: the last sample up to its time, or on the line between that one and the
next."""
Missing = Literal["split", "keep"]
NONE_NS = -1
"""The age where there is no sample up to a latent's time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataRequest:
    """Which data channels go along with latents, and how.

    Raises:
        UsageError: an age that means nothing.
    """

    channels: Sequence[str] | None = None
    """Names; None: all."""
    align: Align = "last"
    max_age_s: float = 1.0
    """An older sample is none: the value is missing."""
    missing: Missing = "split"
    """A latent that lacks a value of a channel of numbers is left out and ends the episode; or it
    is kept, with NaN."""

    def __post_init__(self) -> None:
        if not 0 < self.max_age_s < 1e9:
            raise UsageError(f"The age of a sample is {self.max_age_s} s; allowed: above 0.")
        if self.align not in get_args(Align) or self.missing not in get_args(Missing):
            raise UsageError(
                f"Got {self.align!r} and {self.missing!r}; allowed: {get_args(Align)} and "
                f"{get_args(Missing)}."
            )

    def facts(self) -> dict[str, Any]:
        """How values were chosen, for JSON."""
        return {"align": self.align, "max_age_s": self.max_age_s, "missing": self.missing}


@dataclass(frozen=True, slots=True, eq=False)
class Beside:
    """What one channel of numbers has for one latent."""

    value: NDArray[np.float64]
    """[d] at the latent's time; NaN where it is missing, or the robot gave none."""
    age_ns: int
    """Of the last sample up to that time; `NONE_NS`: there is none."""
    times_ns: NDArray[np.int64]
    """[n] of the samples after the latent before it, up to its own time."""
    values: NDArray[np.float64]
    """[n, d] of these."""

    @property
    def missing(self) -> bool:
        """Whether any of the value is."""
        return bool(np.isnan(self.value).any())


@dataclass(slots=True, eq=False)
class ChannelSamples:
    """All samples of a channel of numbers, in the order of their times.

    An hour of 100 Hz and 7 numbers takes 23 MB.
    """

    channel: DataChannel
    times_ns: NDArray[np.int64]
    """[n], never falling."""
    values: NDArray[np.float64]
    """[n, d]."""
    late: int = 0
    """Samples that were written behind one of a later time."""
    of_recordings: Mapping[str, ChannelSamples] = field(default_factory=dict)
    """Where several recordings were merged that each have a channel of this name: theirs, by what
    `SourceFacts.recording` says, and under no name what was joined to all. The robot of one is not
    that of another, nor that of a recording which has none."""
    not_finite: int = field(init=False)
    """Samples that hold a NaN or an infinity."""

    def __post_init__(self) -> None:
        self.not_finite = int((~np.isfinite(self.values)).any(axis=1).sum())

    @classmethod
    def of(cls, recording: Recording, channel: DataChannel) -> ChannelSamples:
        """Read the samples of a channel of numbers."""
        whole = cls._read(recording, channel, None)
        names = recording.recordings_with(channel.name)
        if len(names) > 1:
            whole.of_recordings = {
                name: cls._read(recording, channel, name) for name in {"", *names}
            }
        return whole

    def beside_camera_of(self, recording: str) -> ChannelSamples:
        """What may be beside a camera of a recording, by what `SourceFacts.recording` says."""
        if not self.of_recordings:
            return self
        return self.of_recordings.get(recording, self.of_recordings[""])

    @classmethod
    def _read(cls, recording: Recording, channel: DataChannel, name: str | None) -> ChannelSamples:
        times, values = [], []
        for sample in recording.samples(channel.name, recording=name):
            assert sample.values is not None
            times.append(sample.log_time_ns)
            values.append(sample.values)
        at = np.array(times, np.int64)
        table = np.array(values, np.float64).reshape(len(times), channel.size)
        late = int((np.diff(at) < 0).sum())
        order = np.argsort(at, kind="stable")
        return cls(channel, at[order], table[order], late)

    def beside(
        self, before_ns: int, at_ns: int, align: Align = "last", max_age_s: float = 1.0
    ) -> Beside:
        """What belongs to a latent of the time `at_ns`, behind one of `before_ns`.

        Args:
            align: `last`: the last sample up to `at_ns`. `interpolate`: on the line to the next
                one, where there is one no later than `max_age_s` after the last.
            max_age_s: where the last sample up to `at_ns` is older, the value is missing.

        Returns:
            Two samples of one time are both kept, and the later one counts as the last.
        """
        first, end = (
            int(np.searchsorted(self.times_ns, time, side="right")) for time in (before_ns, at_ns)
        )
        value = np.full(self.channel.size, np.nan)
        age_ns = NONE_NS
        if end:
            age_ns = at_ns - int(self.times_ns[end - 1])
            if age_ns <= max_age_s * 1e9:
                value = self.values[end - 1].copy()
                if align == "interpolate" and age_ns and end < len(self.times_ns):
                    value = self._between(end, age_ns, max_age_s * 1e9)
        return Beside(value, age_ns, self.times_ns[first:end], self.values[first:end])

    def _between(self, end: int, age_ns: int, most_ns: float) -> NDArray[np.float64]:
        low: NDArray[np.float64] = self.values[end - 1]
        high: NDArray[np.float64] = self.values[end]
        span_ns = int(self.times_ns[end] - self.times_ns[end - 1])
        if span_ns > most_ns:
            return low.copy()
        share = age_ns / span_ns
        between: NDArray[np.float64] = low + (high - low) * share
        return between


def data_of(recording: Recording, request: DataRequest) -> dict[str, ChannelSamples]:
    """The channels of numbers that a request asks for, by name, in the order of names.

    Raises RecordingError: a channel is not there, has events, or has no sample at the time of any
    latent of the recording; both times are said.
    """
    found = {}
    for name, channel in channels_of(recording, request).items():
        samples = found[name] = ChannelSamples.of(recording, channel)
        _require_overlap(recording, samples)
    return found


def channels_of(recording: Recording, request: DataRequest) -> dict[str, DataChannel]:
    """What is known of the channels that a request asks for. Raises RecordingError as `data_of`."""
    if request.channels is None:
        names = sorted(n for n, c in recording.data_channels.items() if c.kind == "numbers")
    else:
        names = list(dict.fromkeys(request.channels))
    found = {}
    for name in names:
        channel = found[name] = recording.data_channel(name)
        if channel.kind != "numbers":
            raise RecordingError(f"The data channel {name} holds events, and no numbers.")
    return found


def _require_overlap(recording: Recording, samples: ChannelSamples) -> None:
    name = samples.channel.name
    if not len(samples.times_ns):
        raise RecordingError(f"The data channel {name} has no sample that can be read.")
    first, last = int(samples.times_ns[0]), int(samples.times_ns[-1])
    if last < recording.start_ns or first > recording.end_ns:
        raise RecordingError(
            f"The data channel {name} and the cameras have no time in common: "
            f"{_times(first, last)}, and {_times(recording.start_ns, recording.end_ns)}. Join it "
            "again with the offset between their clocks."
        )


def _times(first_ns: int, last_ns: int) -> str:
    return f"{first_ns / 1e9:.3f} to {last_ns / 1e9:.3f} s"


def counted(found: Mapping[str, ChannelSamples]) -> dict[str, dict[str, int]]:
    """How many samples each channel has, and what is odd about them, for JSON."""
    return {
        name: {
            "samples": len(samples.times_ns),
            "late": samples.late,
            "not_finite": samples.not_finite,
        }
        for name, samples in found.items()
    }
