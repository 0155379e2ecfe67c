"""What exports of npz and WebDataset have of data channels, beside their latents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.bounded import opened_zip
from vidtok_edge.errors import DatasetError, UsageError
from vidtok_edge.runtime.npz import array_of, damage_told
from vidtok_edge.runtime.recording.data_rows import DataRequest
from vidtok_edge.runtime.recording.exports.set_document import Document
from vidtok_edge.runtime.recording.format.data_channels import MOST_VALUES

__all__ = ["Channels", "channels_in", "chosen", "require_asked", "values_in"]

Channels = Mapping[str, int]
"""The names of channels, and how many numbers each has."""


def channels_in(document: Document, request: DataRequest | None) -> Channels:
    """The channels that an export went along with, of those that are asked for.

    Args:
        document: what `recording.json` says of a recording.

    Raises UsageError: another alignment is asked for; DatasetError: a channel is not there.
    """
    data = document.of("data")
    if request is not None:
        require_asked(data, request)
    found = {name: one.whole("size") for name, one in data.members("channels")}
    for name, size in found.items():
        if not 1 <= size <= MOST_VALUES:
            raise data.wrong(name, size)
    return chosen(document.name, found, request)


def require_asked(data: Document, request: DataRequest) -> None:
    """Raise UsageError where values were exported with another alignment than is asked for."""
    for name, value in (("align", request.align), ("max_age_s", request.max_age_s)):
        if data.content.get(name, value) != value:
            raise UsageError(
                f"{data.name} was exported with {name} {data.content[name]}, and {value} is asked "
                "for. Export it again so, or ask for nothing."
            )


def chosen(name: str, found: Channels, request: DataRequest | None) -> Channels:
    """Those of some channels that are asked for, in the order of names.

    Raises DatasetError: one is not there.
    """
    names = found if request is None or request.channels is None else request.channels
    if lacking := [one for one in names if one not in found]:
        have = ", ".join(sorted(found)) or "none"
        raise DatasetError(f"{name} has no data channel {lacking[0]!r}; it has {have}.")
    return {one: found[one] for one in sorted(names)}


def values_in(
    file: IO[bytes], name: str, channels: Channels, count: int
) -> dict[str, NDArray[np.float32]]:
    """The values of channels at `count` latents, each [count, d], from an npz of an export.

    Raises DatasetError: it is none, or of another number of latents.
    """

    def judge(array: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        if dtype != np.float64 or shape != (count, sizes[array]):
            raise DatasetError(
                f"{name} has {array} {dtype} {list(shape)} where float64 "
                f"[{count}, {sizes[array]}] should be. Export it again."
            )

    sizes = {f"{channel.replace('/', '.')}.value": size for channel, size in channels.items()}
    try:
        with damage_told(), opened_zip(file) as archive:
            return {
                channel: array_of(archive, array, judge).astype(np.float32)
                for channel, array in zip(channels, sizes, strict=True)
            }
    except (OSError, ValueError, KeyError) as error:
        raise DatasetError(f"{name} is damaged: {error}. Export it again.") from None
