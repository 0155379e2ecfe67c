"""JSON documents in files that are not trusted: of a limited size, in UTF-8, of one schema."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from vidtok_edge.bounded import TooLarge, read_at_most
from vidtok_edge.runtime.files import write_beside
from vidtok_edge.runtime.manifest.plain import from_plain

__all__ = ["DocumentKind", "SchemaUnknown", "fields", "write_document"]

T = TypeVar("T")


class SchemaUnknown(ValueError):
    """The document has another schema than this toolkit reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentKind:
    """One kind of document, and what is said of one that is not of it.

    The sentences are templates: `{mib}` is the limit, `{error}` what `json` says, `{schema}` the
    one that is read, `{found}` the number that was found or `unknown`, `{value}` whatever it was.
    """

    schema: int
    largest: int = 1 << 24
    """Bytes of a file."""
    too_large: str = "larger than {mib} MiB"
    not_text: str = "not UTF-8 text"
    not_json: str = "{error}"
    no_object: str = ""
    """Empty: that is told as an unknown schema."""
    other_schema: str = "its schema is {found}, this toolkit reads {schema}"

    def text(self, path: Path) -> str:
        """The content of a file. Raises OSError; ValueError: too large, or no text."""
        try:
            content = read_at_most(path, self.largest)
        except TooLarge:
            raise ValueError(self.too_large.format(mib=self.largest >> 20)) from None
        try:
            return content.decode("utf-8")
        except UnicodeDecodeError:
            raise ValueError(self.not_text) from None

    def parsed(self, text: str | bytes) -> dict[str, Any]:
        """The object in `text`. Raises SchemaUnknown; ValueError: no JSON, or no object."""
        try:
            plain = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(self.not_json.format(error=error)) from None
        if not isinstance(plain, dict) and self.no_object:
            raise ValueError(self.no_object)
        value = plain.get("schema") if isinstance(plain, dict) else None
        if type(value) is not int or value != self.schema:
            found = str(value)[:20] if isinstance(value, int) else "unknown"
            if isinstance(value, list | dict):  # it may be nested too deeply to be shown
                value = type(value).__name__
            raise SchemaUnknown(
                self.other_schema.format(schema=self.schema, found=found, value=value)
            )
        return dict(plain)

    def load(self, kind: type[T], path: Path) -> T:
        """The document in a file, as a `kind`. Raises OSError and ValueError."""
        return fields(kind, self.parsed(self.text(path)))


def fields(kind: type[T], plain: object) -> T:
    """As `from_plain`; what is nested too deeply is a ValueError too."""
    try:
        return from_plain(kind, plain)
    except RecursionError as error:
        raise ValueError(str(error)) from None


def write_document(
    path: Path, content: Mapping[str, object] | Sequence[object], force: bool = True
) -> None:
    """Write `content` as JSON, whole or not at all; raises as `write_beside`."""
    text = json.dumps(content, indent=1, allow_nan=False)
    with write_beside(path, force) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
