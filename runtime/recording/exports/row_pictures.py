"""The picture that a row shows: the last real frame that its latent stands for, decoded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from vidtok_edge.errors import RecordingError, UsageError
from vidtok_edge.runtime.bundle import Bundle
from vidtok_edge.runtime.recording.exports.episodes import Episode, Row
from vidtok_edge.runtime.recording.exports.inputs import Inputs
from vidtok_edge.runtime.recording.format.reader import Recording
from vidtok_edge.runtime.recording.playback import Playback, PlayedFrame
from vidtok_edge.runtime.streaming.records import LatentRecord, Record

__all__ = ["PictureRequest", "RowPictures"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureRequest:
    """What tokens are decoded with."""

    bundle: Bundle
    backend: str = "auto"
    """As `Bundle.decoder` takes it."""
    precision: str | None = None


class RowPictures:
    """Decodes recordings beside the reading of their rows; a context manager.

    Everything is decoded that `replay` decodes for the same times, so that frames are those of
    `replay`, also where rows are left out and an episode ends in the middle of a stream.

    Raises:
        UsageError: a bundle for floats.
        RecordingError: a recording is of another tokenizer than the bundle's.
    """

    def __init__(self, inputs: Inputs, request: PictureRequest) -> None:
        if request.bundle.manifest.io != "uint8":
            raise UsageError(
                "The bundle was exported with --io float, for comparing numbers; videos are uint8. "
                "Export it with --io uint8."
            )
        for source, _ in inputs.sources():
            source.tokenizer.require_decodable_by(request.bundle)
        self._inputs, self._request = inputs, request
        self._open = ExitStack()
        self._decoder = self._open.enter_context(
            request.bundle.decoder(request.backend, precision=request.precision)
        )
        self._played: _Played | None = None
        self._at: tuple[int, int] | None = None
        """The recording, and the source of it, that is played."""

    def facts(self) -> dict[str, str]:
        """What decodes, for JSON."""
        graph = self._request.bundle.manifest.graph("decoder", self._request.precision)
        return {"backend": self._decoder.backend.active, "precision": graph.precision}

    def __enter__(self) -> RowPictures:
        return self

    def __exit__(self, *exc: object) -> None:
        self._close_played()
        self._open.close()

    def of(self, episode: Episode, row: Row) -> NDArray[Any]:
        """uint8 [H, W, 3] RGB. Ask for rows in their order.

        A latent of padding alone, at the end of a stream, shows the frame before.

        Raises RecordingError: decoding the recording again gives no such frame.
        """
        at = len(self._inputs.told), episode.source.number
        if self._played is None or at != self._at:
            self._close_played()
            self._played, self._at = _Played(self._inputs, episode, self._decoder), at
        return self._played.until(row.latent)

    def _close_played(self) -> None:
        if self._played is not None:
            self._played.close()
            self._played = None


class _Played:
    """One source of the recording whose rows are read now."""

    def __init__(self, inputs: Inputs, episode: Episode, decoder: Any) -> None:
        self._recording = Recording.open(inputs.told[-1].path)
        self._logged: dict[tuple[int, int], int] = {}
        playback = Playback(
            recording=self._recording,
            decoder=decoder,
            source=episode.source.number,
            fps=episode.fps,
            start_s=inputs.start_s,
            seen=self._note,
        )
        self._frames: Iterator[PlayedFrame] = iter(playback)
        self._picture: NDArray[Any] | None = None

    def close(self) -> None:
        self._recording.close()

    def until(self, latent: LatentRecord) -> NDArray[Any]:
        """The last frame up to a latent that is not behind the one before."""
        if latent.frames_real:
            self._picture = self._next(latent)
        if self._picture is None:
            raise self._lost(latent)
        return self._picture

    def _next(self, latent: LatentRecord) -> NDArray[Any]:
        for frame in self._frames:
            if not frame.last:
                continue
            at_ns = self._logged.pop(frame.latent, None)
            # A recording that was merged can have several of a number, at different times.
            if frame.latent == (latent.stream, latent.index) and at_ns == latent.log_time_ns:
                return frame.pixels
        raise self._lost(latent)

    def _note(self, entry: Record, time_ns: int) -> None:
        if isinstance(entry, LatentRecord) and entry.frames_real:
            self._logged[entry.stream, entry.index] = entry.log_time_ns

    def _lost(self, latent: LatentRecord) -> RecordingError:
        return RecordingError(
            f"{self._recording.path}: latent {latent.index} of stream {latent.stream} of source "
            f"{latent.source} cannot be decoded where it lies. Export without --video, or leave it "
            "out with --start and --end."
        )
