"""Recordings as training data: token files, shards, Parquet files, or a LeRobot dataset."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vidtok_edge.errors import RecordingError, UsageError
from vidtok_edge.runtime.clips.token_files import TokenFile, TokenMeta
from vidtok_edge.runtime.files import require_each_once
from vidtok_edge.runtime.folders import add_to_folder_beside, write_folder_beside
from vidtok_edge.runtime.progress import Progress, no_progress
from vidtok_edge.runtime.recording.data_rows import DataRequest
from vidtok_edge.runtime.recording.exports.episodes import (
    Episode,
    Gaps,
    Row,
    facts_of,
    pieces,
    time_of,
)
from vidtok_edge.runtime.recording.exports.existing import CONTENTS, INFO, Existing
from vidtok_edge.runtime.recording.exports.inputs import Inputs
from vidtok_edge.runtime.recording.exports.row_pictures import PictureRequest, RowPictures
from vidtok_edge.runtime.recording.exports.webdataset import MOST_SHARDS, write_shards
from vidtok_edge.runtime.recording.exports.with_data import Data, arrays_of, save_arrays
from vidtok_edge.runtime.recording.format.reader import Recording
from vidtok_edge.runtime.recording.last_frame import last_frame_s

__all__ = ["CONTENTS", "Exported", "Format", "export_recording"]

Format = Literal["npz", "webdataset", "lerobot", "parquet"]
_NO_SPREAD = -30.0  # the least log variance of VidTok's KL models; a recording holds means alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What `export_recording` wrote."""

    episodes: int
    latents: int
    files: int
    broken: int = 0
    """Places where latents are missing."""
    damaged_bytes: int = 0
    unreadable: int = 0
    """Messages that made no sense."""
    markers: Mapping[str, int] = field(default_factory=dict, compare=False)
    """How many markers of each kind were met."""
    frames_dropped: int = field(default=0, compare=False)
    """That were captured while recording and not encoded."""
    gaps: int = field(default=0, compare=False)
    """Places where time passed in which nothing came, and no marker says why."""
    frames_paused: int = field(default=0, compare=False)
    """That came while it was paused."""
    given_up: Mapping[str, int] = field(default_factory=dict, compare=False)
    """Streams that were encoded otherwise, because encoding was late, by what was given up."""
    unended: int = 0
    """Sources whose end the recording does not hold."""
    growing: bool = False
    """It was still being recorded to."""
    doubts: tuple[str, ...] = ()
    """Of each source, as `rate_doubt`; and of recordings that were in the set before."""
    data: tuple[Data, ...] = field(default=(), compare=False)
    """What went along, and where some was missing, of each recording."""


@dataclass(slots=True)
class _Count:
    """Counts episodes and their latents as they pass."""

    progress: Progress
    total: int | None = None
    episodes: int = 0
    latents: int = 0

    def __call__(self, found: Iterator[Episode]) -> Iterator[Episode]:
        for episode in found:
            self.episodes += 1
            yield replace(episode, rows=self._rows(episode.rows))

    def _rows(self, rows: Iterator[Row]) -> Iterator[Row]:
        for row in rows:
            self.latents += 1
            self.progress(self.latents, self.total)
            yield row


def export_recording(
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    format: Format,
    *,
    source: int | None = None,
    start_s: float | None = None,
    end_s: float | None = None,
    gaps: Gaps = "split",
    task: str = "recorded",
    sample_latents: int = 64,
    shards: int | None = None,
    data: DataRequest | None = None,
    action: str = "action",
    state: str = "state",
    video: PictureRequest | None = None,
    force: bool = False,
    append: bool = False,
    progress: Progress = no_progress,
) -> Exported:
    """Write recordings into the new folder `output`; docs/recording_format.md says what is in it.

    An episode ends where time was left out, never at a `key`: see `episodes`. Latents are read and
    written one after another; only `npz` holds in memory what it writes to one file.

    Args:
        path: a recording, or several whose episodes follow one another: parts of one, say.
        source: its number, in each; None: all.
        start_s, end_s: of latents, as `replay` counts; None: no bound.
        gaps: "keep": an episode goes on where time was left out, and says so in its columns.
        task: LeRobot only: what the robot was doing.
        sample_latents: WebDataset only: latents in one sample; the last of an episode has fewer.
        shards: WebDataset only: how many, at most 256, to which samples are dealt out in turn;
            None: 8, or as many as there are samples.
        data: which data channels go along, and how; None: all, each with its last sample.
        action, state: LeRobot only: the channels that are its `action` and `observation.state`.
        video: LeRobot only: with what to decode a video beside, of the last frame of each latent.
            It is a reconstruction, and takes as long as `replay` does; None: no video.
        append: add to the set that `output` is; it is as it was until everything is there, and
            after a crash.

    Raises:
        RecordingError: not a recording, no such source or data channel, no latent in the part, or
            none that has a value of every data channel; not of the tokenizer of `video`'s bundle.
        DatasetError: to be appended to, and of another format, grid, rate, tokenizer or of other
            channels; or damaged.
        UsageError: a recording twice; nothing to append to, or made with other options; times that
            mean nothing, or fewer samples than `shards`.
        OutputExists, OutputNotWritable: about `output`. With `force` only an export is replaced.
        MissingDependency: LeRobot or Parquet without pyarrow, a video without PyAV.
    """
    if sample_latents < 1 or (shards is not None and not 1 <= shards <= MOST_SHARDS):
        raise UsageError(
            f"Got {sample_latents} latents in a sample and {shards} shards; allowed: at least 1, "
            f"and 1 to {MOST_SHARDS}."
        )
    if video is not None and format != "lerobot":
        raise UsageError(f"Got a video for {format}; allowed: lerobot. Leave it out.")
    paths = [path] if isinstance(path, (str, os.PathLike)) else list(path)
    if not paths:
        raise UsageError("Got no recording. Name one or several.")
    require_each_once(paths)
    if append and force:
        raise UsageError("Got append and force; allowed: one. A set is added to, or replaced.")
    inputs = Inputs(
        paths=paths,
        source=source,
        start_s=start_s,
        end_s=end_s,
        gaps=gaps,
        data=data or DataRequest(),
    )
    marker = INFO if format == "lerobot" else CONTENTS
    anew = _WRITTEN_ANEW if format == "lerobot" else (CONTENTS,)
    with (
        add_to_folder_beside(output, marker=marker, without=anew)
        if append
        else write_folder_beside(output, force, marker=marker)
    ) as folder:
        before = _existing(Path(output), format, inputs) if append else None
        there = {*folder.rglob("*")}
        count = _Count(progress, None if video is None else inputs.latents())
        found = count(iter(inputs))
        if format == "lerobot":
            from vidtok_edge.runtime.recording.exports.lerobot import write_lerobot

            named = _named(inputs, action, state)
            with ExitStack() as stack:
                pictures = None if video is None else RowPictures(inputs, video)
                if pictures is not None:
                    stack.enter_context(pictures)
                write_lerobot(inputs, found, folder, task, named, before, pictures)
        else:
            own = _Own(before, sample_latents, shards)
            document = {"gaps": gaps, **own.written(format, inputs, found, folder)}
            if before is None:
                document |= inputs.facts()
            else:
                document["recordings"] = before.recordings() + inputs.recordings()
            text = json.dumps(document, indent=1)
            (folder / CONTENTS).write_text(text, encoding="utf-8")
        if not count.latents:
            raise _nothing_in(inputs)
        happened = [one for told in inputs.told for one in told.happened]
        return Exported(
            episodes=count.episodes,
            latents=count.latents,
            files=sum(1 for file in folder.rglob("*") if file.is_file() and file not in there),
            broken=sum(told.places_missing for told in happened),
            damaged_bytes=sum(told.damaged_bytes for told in inputs.told),
            unreadable=sum(told.unreadable for told in inputs.told),
            markers=sum((told.markers for told in happened), Counter()),
            frames_dropped=sum(told.frames_dropped for told in happened),
            given_up=sum((told.given_up for told in happened), Counter()),
            gaps=sum(told.gaps for told in happened),
            frames_paused=sum(told.frames_paused for told in happened),
            unended=sum(not told.ended for told in happened),
            growing=any(told.growing for told in inputs.told),
            data=tuple(told.data for told in inputs.told),
            doubts=tuple(dict.fromkeys(_doubts(inputs, before))),
        )


def _named(inputs: Inputs, action: str, state: str) -> dict[str, str]:
    """The features of LeRobot that two data channels become; those of the usual names may lack.

    Raises RecordingError: another name that no channel has; UsageError: one for both.
    """
    if action == state:
        raise UsageError(f"The channel {action} is to be action and state. Name one for each.")
    for asked, usual in ((action, "action"), (state, "state")):
        if asked != usual and asked not in (channels := inputs.channels()):
            there = ", ".join(channels) or "none"
            raise RecordingError(
                f"No data channel {asked!r} is exported, to be {usual}; there are: {there}. Name "
                "one of them."
            )
    return {action: "action", state: "observation.state"}


def _doubts(inputs: Inputs, before: Existing | None) -> Iterator[str]:
    """Of rates, and of what is in the set more than once."""
    there: set[tuple[str, str]] = set()
    for recording in () if before is None else before.recordings():
        told_of = recording.get("sources")
        for number, source in told_of.items() if isinstance(told_of, Mapping) else ():
            if isinstance(source, Mapping):
                there.add((str(source.get("recording", "")), str(number)))
    for told in inputs.told:
        yield from told.doubts
        own = {(one.source.recording, str(one.source.number)) for one in told.happened}
        if any(name for name, _ in own & there):
            yield (
                f"{told.path} was in the set before it was added: unless other times were taken of "
                "it, its latents are there twice"
            )
        there |= own


_WRITTEN_ANEW = ("meta/info.json", f"meta/{CONTENTS}", "meta/stats.json", "meta/tasks.parquet")
"""Of a LeRobot dataset that is added to; of the others it is `CONTENTS`."""


def _existing(output: Path, format: Format, inputs: Inputs) -> Existing:
    """The set that is added to, which the recordings fit; their episodes are numbered behind its.

    Raises DatasetError, RecordingError and UsageError: they do not fit.
    """
    before = Existing.of(output, format)
    before.require_as(inputs.gaps, inputs.data)
    facts = inputs.set_facts()
    if facts is not None:
        facts.require_same(before.facts, inputs.paths[0], output)
    inputs.first_episode = before.episodes
    return before


@dataclass(frozen=True, slots=True)
class _Own:
    """Writes what each format but LeRobot has of its own, behind what is there."""

    before: Existing | None
    sample_latents: int
    shards: int | None

    def written(
        self, format: Format, inputs: Inputs, found: Iterator[Episode], folder: Path
    ) -> dict[str, list[dict[str, Any]]]:
        """What the folder then holds, for JSON."""
        there = {} if self.before is None else self.before.document
        if format == "parquet":
            from vidtok_edge.runtime.recording.exports.parquet import write_parquet

            facts = inputs.set_facts() if self.before is None else self.before.facts
            own = write_parquet(inputs, found, folder, facts=facts, added=bool(there))
        elif format == "npz":
            own = _write_npz(found, folder)
        else:
            own = write_shards(
                found,
                folder,
                sample_latents=self.sample_latents,
                shards=self.shards,
            )
        return {name: [*there.get(name, ()), *entries] for name, entries in own.items()}


def _nothing_in(inputs: Inputs) -> RecordingError:
    left_out = sum(told.data.left_out for told in inputs.told)
    if left_out:
        without = sum((told.data.rows_without for told in inputs.told), Counter())
        lacking = ", ".join(f"{name} {n}" for name, n in sorted(without.items()))
        return RecordingError(
            f"None of the {left_out} latents has a value of every data channel: {lacking} lack it. "
            "Keep them with --missing keep, allow older samples with --max-age, or name other "
            "channels with --channels."
        )
    with Recording.open(inputs.paths[0]) as recording:
        part = inputs.part_of(recording)
        names = ", ".join(f"{source.number} ({source.name})" for source in part.sources)
        lasts = [last_frame_s(recording, source.number) for source in part.sources]
    others = f" and {len(inputs.paths) - 1} others" if len(inputs.paths) > 1 else ""
    if not part.start_ns and part.end_ns is None:
        return RecordingError(
            f"{inputs.paths[0]}{others} holds no latent of source {names}. Record for longer."
        )
    last_s = max((last for last in lasts if last is not None), default=0.0)
    return RecordingError(
        f"{inputs.paths[0]}{others} holds no latent of source {names} in that time; the last frame "
        f"of the first recording is at {last_s:.1f} s. Choose other times."
    )


def _write_npz(found: Iterator[Episode], folder: Path) -> dict[str, list[dict[str, Any]]]:
    """A file for each piece of an episode that can be decoded as one; what they hold, for JSON."""
    contents = []
    for episode in found:
        for rows in pieces(episode.rows):
            first = rows[0].latent
            place = f"camera{first.source}-stream{first.stream:04}-latent{first.index:06}"
            name = f"e{episode.number:05}-{place}.npz"
            if (tokens := _token_file(episode, rows)) is None:
                continue
            tokens.save(folder / name)
            contents.append({"file": name, **facts_of(episode, rows)})
            if arrays := arrays_of(rows):
                beside = name.removesuffix(".npz") + ".data.npz"
                save_arrays(folder / beside, arrays)
                contents[-1]["data_file"] = beside
    return {"episodes": contents}


def _token_file(episode: Episode, rows: list[Row]) -> TokenFile | None:
    """None: no real frame is in it."""
    latents = [row.latent for row in rows]
    tokenizer = episode.source.tokenizer
    # A run that begins inside a stream is decoded like a stream: its first latent is one frame.
    frames = min(latents[0].frames_real, len(tokenizer.framing.share(0)))
    frames += sum(latent.frames_real for latent in latents[1:])
    if not frames:
        return None
    values = np.stack([latent.values for latent in latents])
    fsq = tokenizer.latent == "fsq"
    meta = TokenMeta.of(
        tokenizer.model,
        weights_sha256=tokenizer.weights_sha256,
        precision=tokenizer.precision,
        height=tokenizer.height,
        width=tokenizer.width,
        fps=episode.fps / rows[0].every,
        frames=frames,
        toolkit_version=tokenizer.toolkit_version,
    )
    times = np.array([time_of(latent) for latent in latents], np.int64)
    return TokenFile(
        tokens=values if fsq else None,
        mean=None if fsq else values,
        logvar=None if fsq else np.full_like(values, _NO_SPREAD),
        time_ns=np.maximum.accumulate(times),  # a token file's times never go back
        meta=meta,
    )
