"""The document of a benchmark as a JSON file: written, and read back from people not trusted."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from vidtok_edge.bounded import TooLarge, read_at_most
from vidtok_edge.errors import DocumentError, UsageError
from vidtok_edge.runtime.bench.document import FORMAT, SCHEMA, Document
from vidtok_edge.runtime.files import write_beside
from vidtok_edge.runtime.manifest.documents import fields

__all__ = ["LARGEST_BYTES", "json_of", "read_document", "write_document"]

LARGEST_BYTES = 256_000_000
"""Of a file that is read: millions of latents. Parsing takes several times as much memory."""
_LARGEST_NUMBER = 1e15


def json_of(document: Document) -> str:
    """One line."""
    return json.dumps(asdict(document), separators=(",", ":"), allow_nan=False)


def write_document(document: Document, path: Path, force: bool = False) -> None:
    """Write it; raises OutputExists and OutputNotWritable as `write_beside` does."""
    text = json_of(document)
    with write_beside(path, force) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def read_document(path: Path, largest_bytes: int = LARGEST_BYTES) -> Document:
    """Read what `write_document` wrote.

    Raises:
        DocumentError: a file that cannot be read, is too large, cut off, no document of a
            benchmark, of another schema, or does not hold together.
    """
    try:
        data = read_at_most(path, largest_bytes)
    except OSError as error:
        raise DocumentError(f"{path} cannot be read: {error.strerror}. {_NAME_ONE}") from None
    except TooLarge:
        raise DocumentError(
            f"{path} is larger than {largest_bytes:,} bytes, and is not read. Measure for a "
            "shorter time, or fewer candidates at once."
        ) from None
    try:
        plain = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DocumentError(f"{path} is no JSON, or was cut off: {error}. {_NAME_ONE}") from None
    if not isinstance(plain, dict) or plain.get("format") != FORMAT:
        raise DocumentError(f"{path} is no document of a benchmark. {_NAME_ONE}")
    if plain.get("schema") != SCHEMA:
        found = plain.get("schema")
        schema = str(found)[:20] if isinstance(found, int | str | None) else "unknown"
        raise DocumentError(
            f"{path} is of schema {schema}, and this toolkit reads {SCHEMA}. "
            "Measure again, or draw it with the toolkit that wrote it."
        )
    try:
        _require_sane(plain)
        return fields(Document, plain)
    except (ValueError, UsageError) as error:
        raise DocumentError(f"{path} does not hold together: {error}. {_NAME_ONE}") from None


_NAME_ONE = "Name a file that `vidtok-edge bench --json` wrote."


def _require_sane(value: object) -> None:
    """No number is so large that drawing it overflows."""
    values: list[object] = [value]
    while values:
        value = values.pop()
        if isinstance(value, dict):
            values += value.values()
        elif isinstance(value, list):
            values += value
        elif isinstance(value, int | float) and abs(value) > _LARGEST_NUMBER:
            raise ValueError(f"a number of {str(value)[:20]} is none that was measured")
