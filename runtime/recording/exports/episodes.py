"""A recording as episodes: unbroken runs of latents, each from one stream of one source.

Of a non-causal tokenizer they are whole windows: no decoder can do anything with a part of one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from vidtok_edge.runtime.recording.format.mcap_file import SourceFacts
from vidtok_edge.runtime.recording.format.reader import Recording
from vidtok_edge.runtime.recording.playback import frame_rate
from vidtok_edge.runtime.streaming.records import LatentRecord

__all__ = ["Episode", "episodes"]


@dataclass(frozen=True, slots=True)
class Episode:
    """One run of latents; iterate over `latents` once, before the next episode is asked for."""

    number: int
    source: SourceFacts
    fps: float
    """Frames per second of the source."""
    latents: Iterator[LatentRecord]


@dataclass(slots=True)
class _Run:
    """Gives consecutive latents the same number."""

    number: int = -1
    due: tuple[int, int] | None = None

    def __call__(self, latent: LatentRecord) -> int:
        if (latent.stream, latent.index) != self.due:
            self.number += 1
        self.due = (latent.stream, latent.index + 1)
        return self.number


def _whole_windows(latents: Iterator[LatentRecord], window: int) -> Iterator[LatentRecord]:
    held: list[LatentRecord] = []
    for latent in latents:
        follows = held and (latent.stream, latent.index) == (held[-1].stream, held[-1].index + 1)
        if not follows:
            held.clear()
        if follows or latent.index % window == 0:
            held.append(latent)
        if len(held) == window:
            yield from held
            held.clear()


def episodes(recording: Recording) -> Iterator[Episode]:
    """Every run, source by source. Where latents are missing, one ends and another begins."""
    number = 0
    for source in sorted(recording.sources.values(), key=lambda facts: facts.number):
        fps = frame_rate(recording, source.number)
        latents = (
            entry for entry in recording.entries(source.number) if isinstance(entry, LatentRecord)
        )
        whole = _whole_windows(latents, source.tokenizer.window)
        for _, run in groupby(whole, _Run()):
            yield Episode(number, source, fps, run)
            number += 1
