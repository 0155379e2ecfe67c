"""How the columns of LeRobot datasets and of Parquet folders are called, and whose latents these
are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidtok_edge.datasets.reading.channels import chosen, require_asked
from vidtok_edge.errors import DatasetError
from vidtok_edge.runtime.recording.data_rows import DataRequest
from vidtok_edge.runtime.recording.exports.existing import (
    CONTENTS,
    INFO,
    feature_channels,
    fields_of,
    lerobot_facts,
    recordings_of,
)
from vidtok_edge.runtime.recording.exports.parquet import FORMAT, KEY
from vidtok_edge.runtime.recording.exports.set_document import Document
from vidtok_edge.runtime.recording.exports.set_facts import SetFacts
from vidtok_edge.runtime.recording.format.data_channels import MOST_VALUES
from vidtok_edge.runtime.recording.format.tokenizer import Tokenizer

__all__ = ["RowLayout", "lerobot_layout", "parquet_layout"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowLayout:
    """The columns of a set that has a row for each latent."""

    facts: SetFacts
    values: str
    """Of tokens or KL latents."""
    source: str
    wall_time: str
    nothing: object
    """What `begins` is where nothing began a stream."""
    channels: Mapping[str, str]
    """The column of each data channel."""


def lerobot_layout(folder: Path, request: DataRequest | None) -> RowLayout:
    """Of a LeRobot dataset that `export-recording` made, as LeRobot's tools may have left it.

    Raises DatasetError: it is of something else.
    """
    info = Document.load(folder / INFO)
    known = feature_channels(info)
    sizes = {name: size for name, (_, size) in known.items()}
    channels = chosen(str(folder), sizes, request)
    facts = lerobot_facts(info, channels)
    words = info.of("features").of("begins").of("info").texts("words")
    if "" not in words:
        raise info.wrong("begins", words)
    recorded = folder / "meta" / CONTENTS
    if request is not None and recorded.is_file():  # LeRobot's own tools leave it out
        for recording in recordings_of(Document.load(recorded)):
            require_asked(recording.of("data"), request)
    return RowLayout(
        facts=facts,
        values=f"observation.{facts.kind}",
        source="observation.source",
        wall_time="observation.wall_time_ns",
        nothing=words.index(""),
        channels={name: known[name][0] for name in channels},
    )


def parquet_layout(
    folder: Path, metadata: Mapping[bytes, bytes] | None, request: DataRequest | None
) -> RowLayout:
    """Of the schema of a Parquet file in `folder`. Raises DatasetError: it is of something else."""
    told = Document.parse(f"the schema of {folder}", _told(folder, metadata))
    if told.whole("format") != FORMAT:
        raise DatasetError(
            f"{folder} has format {told.whole('format')}; this toolkit reads {FORMAT}. Read it "
            "with the version of vidtok-edge that wrote it."
        )
    if request is not None:
        require_asked(told.of("data"), request)
    texts: dict[str, Any] = dict(told.of("tokenizer").content)
    tokenizer = Tokenizer.from_map({n: v for n, v in texts.items() if isinstance(v, str)})
    sizes = {name: one.whole("size") for name, one in told.members("channels")}
    if any(not 1 <= size <= MOST_VALUES for size in sizes.values()):
        raise told.wrong("channels", sizes)
    channels = chosen(str(folder), sizes, request)
    facts = SetFacts(
        tokenizer=tokenizer,
        latents_per_s=told.rate("latents_per_s"),
        channels=channels,
        fields=fields_of(told.members("channels")),
    )
    return RowLayout(
        facts=facts,
        values=facts.kind,
        source="source",
        wall_time="wall_time_ns",
        nothing="",
        channels={name: name for name in channels},
    )


def _told(folder: Path, metadata: Mapping[bytes, bytes] | None) -> bytes:
    if metadata is None or KEY not in metadata:
        raise DatasetError(
            f"The Parquet files of {folder} do not say whose latents they hold (the metadata "
            f"{KEY.decode()} of their schema). Export them again with export-recording."
        )
    return metadata[KEY]
