"""The video of a LeRobot dataset: a picture for each row, decoded from its latent."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from vidtok_edge.runtime.clips.video_files import VideoFiles
from vidtok_edge.runtime.recording.exports.episodes import Episode, Row
from vidtok_edge.runtime.recording.exports.existing import RECONSTRUCTION
from vidtok_edge.runtime.recording.exports.lerobot_places import name_of, next_place, place_of
from vidtok_edge.runtime.recording.exports.picture_statistics import PictureStatistics
from vidtok_edge.runtime.recording.exports.row_pictures import RowPictures
from vidtok_edge.runtime.recording.format.tokenizer import Tokenizer

__all__ = ["LeRobotVideo"]


class LeRobotVideo:
    """Writes the pictures of rows, episode after episode; a context manager.

    Args:
        folder: of the dataset; files are numbered behind those that are there.
        tokenizer: of all rows.
        rate: rows per second.

    Attributes:
        key: of the feature.

    Raises MissingFromEnvironment: FFmpeg has no encoder that LeRobot reads.
    """

    def __init__(
        self, pictures: RowPictures, folder: Path, *, tokenizer: Tokenizer, rate: float
    ) -> None:
        self.key, own = RECONSTRUCTION, folder / "videos" / RECONSTRUCTION
        self._tokenizer, self._rate = tokenizer, rate
        self._files = VideoFiles(
            own,
            partial(name_of, suffix=".mp4"),
            size=(tokenizer.height, tokenizer.width),
            rate=rate,
            number=next_place(own, ".mp4"),
            # Where LeRobot's tools delete or split what lies in a file, they write it anew at
            # int(rate) (`_keep_episodes_from_video_with_av`); whole files they copy.
            alone=rate != int(rate),
        )
        self._pictures = pictures
        self._all, self._episode = PictureStatistics(), PictureStatistics()

    @property
    def feature(self) -> dict[str, Any]:
        """For `meta/info.json`: as LeRobot's `get_video_info` describes a file, and what it is."""
        height, width, codec = self._tokenizer.height, self._tokenizer.width, self._files.codec
        encoded = {f"video.{name}": codec.options.get(name) for name in ("g", "crf", "preset")}
        info = {
            "reconstruction": "decoded from the tokens of its row; not the camera's own picture",
            "frame": "the last one that the latent of its row stands for",
            "tokenizer": self._tokenizer.compared,
            "video.height": height,
            "video.width": width,
            "video.codec": codec.name,
            "video.pix_fmt": codec.pixel_format,
            "video.fps": int(self._rate),  # LeRobot's is whole; `fps` of the dataset is exact
            "video.channels": 3,
            "has_audio": False,
            **encoded,
            "video.fast_decode": 0,
            "video.video_backend": "pyav",
            "video.extra_options": {},
            "is_depth_map": False,
        }
        names = ["height", "width", "channels"]
        return {"dtype": "video", "shape": [height, width, 3], "names": names, "info": info}

    def __enter__(self) -> LeRobotVideo:
        self._files.__enter__()
        return self

    def __exit__(self, *exc: Any) -> None:
        self._files.__exit__(*exc)

    def write(self, episode: Episode, rows: Sequence[Row]) -> None:
        """Decode and write the next rows of an episode. Raises as `RowPictures.of`."""
        for row in rows:
            pixels = self._pictures.of(episode, row)
            for statistics in (self._all, self._episode):
                statistics.add(pixels)
            self._files.write(pixels)

    def end_episode(self) -> dict[str, Any]:
        """What the table of episodes has of it: where it is, and its statistics."""
        place, facts = self._files.end_run(), self._episode.facts()
        self._episode = PictureStatistics()
        return {
            **{f"videos/{self.key}/{name}": at for name, at in place_of(place.number).items()},
            f"videos/{self.key}/from_timestamp": place.from_s,
            f"videos/{self.key}/to_timestamp": place.to_s,
            **{f"stats/{self.key}/{name}": fact.tolist() for name, fact in facts.items()},
        }

    def statistics(self) -> dict[str, NDArray[Any]]:
        """Of all pictures."""
        return self._all.facts()

    def facts(self) -> dict[str, Any]:
        """How it was made, for JSON."""
        return {"codec": self._files.codec.name, **self._pictures.facts()}
