"""JSON of an exported set, which is not trusted: bounded, and each part asked for by its kind."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.bounded import read_at_most
from vidtok_edge.errors import DatasetError

__all__ = ["Document", "said"]

_LARGEST = 256 << 20  # recording.json has a few numbers for each latent: 2 MB for an hour of npz
_MOST = 1 << 62
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Document:
    """An object of JSON. What is asked for and is not there, or of another kind, is an error."""

    name: str
    """Where it lies, for messages."""
    content: Mapping[str, Any]

    @classmethod
    def load(cls, path: Path) -> Document:
        """Read a file. Raises DatasetError."""
        try:
            return cls.parse(str(path), read_at_most(path, _LARGEST))
        except FileNotFoundError:
            raise DatasetError(
                f"{path} is not there, so this is no set that export-recording made, or a part of "
                "one. Copy it whole."
            ) from None
        except (OSError, ValueError) as error:
            raise DatasetError(f"{path} cannot be read: {error}.") from None

    @classmethod
    def parse(cls, name: str, text: bytes) -> Document:
        """Read JSON. Raises DatasetError."""
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DatasetError(f"{name} is damaged: {error}.") from None
        if not isinstance(found, dict):
            raise DatasetError(f"{name} is damaged: it is no object.")
        return cls(name, found)

    def of(self, name: str) -> Document:
        """The object called `name`."""
        return Document(f"{self.name}: {name}", self._get(name, dict))

    def each(self, name: str) -> Iterator[Document]:
        """The objects in the list called `name`."""
        for number in range(self.length(name)):
            yield self.at(name, number)

    def length(self, name: str) -> int:
        """Of the list called `name`."""
        return len(self._get(name, list))

    def at(self, name: str, number: int) -> Document:
        """The object at a place of the list called `name`."""
        one = self._get(name, list)[number]
        if not isinstance(one, dict):
            raise self.wrong(f"{name}[{number}]", one)
        return Document(f"{self.name}: {name}[{number}]", one)

    def members(self, name: str) -> Iterator[tuple[str, Document]]:
        """The objects in the object called `name`, by name."""
        inside = self.of(name)
        for key in inside.content:
            if not _is_text(key):
                raise inside.wrong(ascii(key), "no name")
            yield key, inside.of(key)

    def text(self, name: str) -> str:
        """A string that can be the name of something."""
        found: str = self._get(name, str)
        if not _is_text(found):
            raise self.wrong(name, ascii(found))
        return found

    def part(self, name: str) -> Any:
        """What is called `name`, whatever it is."""
        if name not in self.content:
            raise self.wrong(name, "missing")
        return self.content[name]

    def whole(self, name: str) -> int:
        """A whole number from 0."""
        found = self._get(name, int)
        if isinstance(found, bool) or not 0 <= found < _MOST:
            raise self.wrong(name, found)
        return int(found)

    def rate(self, name: str) -> float:
        """A number above 0."""
        found = self._get(name, (int, float))
        if isinstance(found, bool) or not 0 < found < 1e6:
            raise self.wrong(name, found)
        return float(found)

    def numbers(self, name: str, count: int | None = None) -> NDArray[np.int64]:
        """A list of whole numbers, [count]."""
        found = self._list(name, count)
        if not all(type(one) is int and abs(one) < _MOST for one in found):
            raise self.wrong(name, found)
        return np.array(found, np.int64)

    def texts(self, name: str, count: int | None = None) -> list[str]:
        """A list of strings."""
        found = self._list(name, count)
        if not all(isinstance(one, str) and _is_text(one) for one in found):
            raise self.wrong(name, ascii(found))
        return found

    def has(self, name: str) -> bool:
        """Whether there is something of that name."""
        return name in self.content

    def wrong(self, name: str, found: object) -> DatasetError:
        """What is said of a part that makes no sense."""
        return DatasetError(
            f"{self.name} is damaged: {name} is {said(found)[:80]}. Copy the set again, or export "
            "it again."
        )

    def _list(self, name: str, count: int | None) -> list[Any]:
        found: list[Any] = self._get(name, list)
        if count is not None and len(found) != count:
            raise self.wrong(name, f"of {len(found)}, where there are {count} latents")
        return found

    def _get(self, name: str, kind: Any) -> Any:
        found = self.content.get(name)
        if not isinstance(found, kind):
            raise self.wrong(name, "missing" if found is None else found)
        return found


def said(value: object) -> str:
    """Anything that JSON has, to be compared and shown."""
    try:
        return str(value)
    except RecursionError:
        return "something nested too deeply"


def _is_text(found: str) -> bool:
    """Whether it is Unicode: JSON can hold halves of pairs, which no file can be called."""
    try:
        found.encode()
    except UnicodeEncodeError:
        return False
    return True
