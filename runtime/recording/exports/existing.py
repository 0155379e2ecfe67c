"""An exported set that is there already, before recordings are added to it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.errors import DatasetError, UsageError
from vidtok_edge.runtime.manifest.plain import from_plain
from vidtok_edge.runtime.recording.data_rows import DataRequest
from vidtok_edge.runtime.recording.exports.episodes import Gaps
from vidtok_edge.runtime.recording.exports.set_document import Document, said
from vidtok_edge.runtime.recording.exports.set_facts import Fields, SetFacts
from vidtok_edge.runtime.recording.format.data_channels import MOST_VALUES
from vidtok_edge.runtime.recording.format.mcap_file import SourceFacts
from vidtok_edge.runtime.recording.format.tokenizer import Tokenizer

__all__ = [
    "CONTENTS",
    "INFO",
    "RECONSTRUCTION",
    "Existing",
    "every_in",
    "feature_channels",
    "fields_of",
    "format_of",
    "full_rate",
    "lerobot_facts",
    "recording_of",
    "recordings_of",
    "source_name",
]

CONTENTS = "recording.json"
"""What is in an exported set: in its folder, or in `meta/` of a LeRobot dataset."""
INFO = "meta/info.json"
"""Of a LeRobot dataset."""
RECONSTRUCTION = "observation.images.reconstruction"
"""The feature of a LeRobot dataset that has videos: of every source, as those of `_VALUES`."""
_VALUES = ("observation.tokens", "observation.latent")


@dataclass(frozen=True, slots=True, kw_only=True)
class Existing:
    """What is known of a set that is there."""

    path: Path
    facts: SetFacts
    episodes: int
    document: Mapping[str, Any]
    """`recording.json`; empty where a LeRobot dataset has none any more."""

    @classmethod
    def of(cls, path: Path, format: str) -> Existing:
        """Read a set. Raises DatasetError: it is none, of another format, or damaged."""
        found = format_of(path)
        if found != format:
            raise DatasetError(
                f"{path} is a set of the format {found}, and {format} is to be added. Add {found}, "
                "or name another folder."
            )
        if format == "lerobot":
            return _lerobot(path)
        document = Document.load(path / CONTENTS)
        entries = list(document.each("episodes"))
        if not entries:
            raise DatasetError(f"{path} holds no episode. Export it again.")
        facts: SetFacts | None = None
        for entry in entries:
            own = _facts(document, entry)
            facts = facts or own
            own.require_same(facts, f"episode {entry.whole('episode')} of {path}", "the first")
        assert facts is not None
        count = 1 + max(entry.whole("episode") for entry in entries)
        return cls(path=path, facts=facts, episodes=count, document=document.content)

    def require_as(self, gaps: Gaps, request: DataRequest) -> None:
        """Raise UsageError unless its episodes were made as the new ones are to be."""
        if not self.document:
            return
        asked: dict[str, Any] = {"gaps": gaps, **request.facts()}
        document = Document(str(self.path), self.document)
        told = [recording.of("data") for recording in recordings_of(document)]
        for name, value in asked.items():
            where = [self.document] if name == "gaps" else [one.content for one in told]
            had = {said(one.get(name)) for one in where}
            if had != {str(value)}:
                raise UsageError(
                    f"{self.path} was made with {name} {', '.join(sorted(had))}, and {value} is to "
                    "be added: its episodes would not mean the same. Ask for the same."
                )

    def recordings(self) -> list[dict[str, Any]]:
        """What it says of its recordings, for JSON, each by itself."""
        if not self.document:
            return []
        document = Document(str(self.path), self.document)
        if document.has("recordings"):
            return [dict(one.content) for one in document.each("recordings")]
        own = {name: document.part(name) for name in ("sources", "data", "events")}
        return [{"file": None, "first_episode": 0, "episodes": self.episodes, **own}]


def format_of(folder: Path) -> str:
    """npz, webdataset, lerobot or parquet. Raises DatasetError: no export wrote the folder."""
    if (folder / INFO).exists():
        return "lerobot"
    if not (folder / CONTENTS).exists():
        raise DatasetError(
            f"{folder} has neither {CONTENTS} nor {INFO}: export-recording did not write it, or it "
            "was copied in part. Name a recording, or a folder that it wrote."
        )
    document = Document.load(folder / CONTENTS)
    if document.has("shards"):
        return "webdataset"
    files = [entry.text("file") for entry in document.each("episodes")]
    return "parquet" if files and files[0].endswith(".parquet") else "npz"


def recordings_of(document: Document) -> list[Document]:
    """What `recording.json` says of each recording: of one, it is what it says at all."""
    return list(document.each("recordings")) if document.has("recordings") else [document]


def recording_of(document: Document, episode: int) -> Document:
    """What is said of the recording that an episode is of."""
    if not document.has("recordings"):
        return document
    numbers = range(document.length("recordings"))
    near = bisect_right(numbers, episode, key=partial(_first_episode, document)) - 1
    for number in (max(0, near), *numbers) if numbers else ():
        told = document.at("recordings", number)
        first = told.whole("first_episode")
        if first <= episode < first + told.whole("episodes"):
            return told
    raise document.wrong("recordings", f"without one that has episode {episode}")


def _first_episode(document: Document, number: int) -> int:
    return document.at("recordings", number).whole("first_episode")


def source_name(document: Document, episode: int, source: int) -> str:
    """What tells the source of an episode from every other; empty where it is not said."""
    try:
        name = recording_of(document, episode).of("sources").of(str(source)).text("recording")
    except DatasetError:
        return ""
    return f"{name}:{source}"


def every_in(entry: Document, count: int) -> NDArray[np.int64]:
    """Of so many frames one was encoded in the stream of each latent; earlier versions say it not.

    Raises DatasetError: one says 0.
    """
    if not entry.has("every"):
        return np.ones(count, np.int64)
    found = entry.numbers("every", count)
    if (found < 1).any():
        raise entry.wrong("every", found)
    return found


def full_rate(entry: Document) -> float:
    """Frames per second of the source, where `fps` is that of the stream that it begins in."""
    every = entry.numbers("every") if entry.has("every") else np.ones(1, np.int64)
    if not len(every) or not 1 <= every[0] < 1 << 20:
        raise entry.wrong("every", every)
    return entry.rate("fps") * int(every[0])


def _facts(document: Document, entry: Document) -> SetFacts:
    """Of an episode of a set that is no LeRobot dataset."""
    told = recording_of(document, entry.whole("episode"))
    own = told.of("sources").of(str(entry.whole("source"))).content
    texts = {name: value for name, value in own.items() if isinstance(value, str)}
    tokenizer = SourceFacts.from_map(texts).tokenizer
    sizes = {name: one.whole("size") for name, one in told.of("data").members("channels")}
    if any(not 1 <= size <= MOST_VALUES for size in sizes.values()):
        raise told.wrong("channels", sizes)
    if not entry.has("fps"):  # shards of before it was written there
        raise DatasetError(
            f"{entry.name} does not say its rate: an earlier version wrote it. Export it again."
        )
    rate = full_rate(entry) / tokenizer.time_factor
    fields = fields_of(told.of("data").members("channels"))
    return SetFacts(tokenizer=tokenizer, latents_per_s=rate, channels=sizes, fields=fields)


def _lerobot(path: Path) -> Existing:
    info = Document.load(path / INFO)
    recorded = path / "meta" / CONTENTS
    sizes = {name: size for name, (_, size) in feature_channels(info).items()}
    return Existing(
        path=path,
        facts=lerobot_facts(info, sizes),
        episodes=info.whole("total_episodes"),
        document=Document.load(recorded).content if recorded.is_file() else {},
    )


def lerobot_facts(info: Document, channels: Mapping[str, int]) -> SetFacts:
    """Of `meta/info.json`, with these channels. Raises DatasetError: of something else."""
    features = info.of("features")
    found = [name for name in _VALUES if features.has(name)]
    if len(found) != 1:
        raise DatasetError(
            f"{info.name} has not one of {' and '.join(_VALUES)}: it is a dataset of something "
            "else."
        )
    told = features.of(found[0]).of("info").of("tokenizer")
    plain = {**told.content, "precision": "", "toolkit_version": ""}
    try:
        tokenizer = from_plain(Tokenizer, plain)
    except ValueError as error:
        raise told.wrong("tokenizer", error) from None
    known = feature_channels(info)
    fields = {}
    for name in channels:
        feature = features.of(known[name][0])
        own = tuple(feature.texts("names")) if feature.content.get("names") else ()
        if own != tuple(f"{name}_{i}" for i in range(len(own))):  # else nobody said
            fields[name] = own
    return SetFacts(
        tokenizer=tokenizer, latents_per_s=info.rate("fps"), channels=channels, fields=fields
    )


def fields_of(channels: Iterable[tuple[str, Document]]) -> Fields:
    """What values are called, of channels as `recording.json` tells them."""
    told = ((name, one.texts("fields")) for name, one in channels if one.has("fields"))
    return {name: tuple(fields) for name, fields in told if fields}


def feature_channels(info: Document) -> dict[str, tuple[str, int]]:
    """The data channels of `meta/info.json` by name: the feature of each, and its size.

    What has a column that says its age is one; it is called as its feature where nothing says more.
    """
    features = info.of("features")
    found = {}
    for feature, one in info.members("features"):
        if not features.has(f"age_ns.{feature}"):
            continue
        own = one.of("info") if one.has("info") else None
        name = own.text("channel") if own is not None and own.has("channel") else feature
        size = int(one.numbers("shape", 1)[0])
        if not 1 <= size <= MOST_VALUES or name in found:
            raise one.wrong("shape", size)
        found[name] = feature, size
    return found
