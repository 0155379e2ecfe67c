"""A recording as episodes: unbroken runs of latents, each from one stream of one source."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from vidtok_edge.runtime.recording.mcap_file import SourceFacts
from vidtok_edge.runtime.recording.messages import RecordedLatent
from vidtok_edge.runtime.recording.playback import frame_rate
from vidtok_edge.runtime.recording.reader import Recording

__all__ = ["Episode", "episodes"]


@dataclass(frozen=True, slots=True)
class Episode:
    """One run of latents; iterate over `latents` once, before the next episode is asked for."""

    number: int
    source: SourceFacts
    fps: float
    """Frames per second of the source."""
    latents: Iterator[RecordedLatent]


@dataclass(slots=True)
class _Run:
    """Gives consecutive latents the same number."""

    number: int = -1
    due: tuple[int, int] | None = None

    def __call__(self, latent: RecordedLatent) -> int:
        if (latent.stream, latent.index) != self.due:
            self.number += 1
        self.due = (latent.stream, latent.index + 1)
        return self.number


def episodes(recording: Recording) -> Iterator[Episode]:
    """Every run, source by source. Where latents are missing, one ends and another begins."""
    number = 0
    for source in sorted(recording.sources.values(), key=lambda facts: facts.number):
        fps = frame_rate(recording, source.number)
        latents = (
            entry for entry in recording.entries(source.number) if isinstance(entry, RecordedLatent)
        )
        for _, run in groupby(latents, _Run()):
            yield Episode(number, source, fps, run)
            number += 1
