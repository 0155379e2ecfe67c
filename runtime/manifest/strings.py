"""Facts as strings, for metadata that holds nothing else: of ONNX files, of recordings."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from vidtok_edge.runtime.manifest.plain import from_plain

__all__ = ["from_strings", "to_strings"]

T = TypeVar("T")


def to_strings(facts: Mapping[str, object]) -> dict[str, str]:
    """`facts`, as `asdict` gives them; a dataclass inside another lies flat beside its fields.

    >>> to_strings({"causal": True, "model": {"levels": (8, 8), "variant": "kl"}})
    {'causal': 'true', 'levels': '8,8', 'variant': 'kl'}
    """
    strings: dict[str, str] = {}
    for name, value in facts.items():
        if isinstance(value, Mapping):
            strings |= to_strings(value)
        elif isinstance(value, tuple):
            strings[name] = ",".join(map(str, value))
        else:
            strings[name] = str(value).lower() if isinstance(value, bool) else str(value)
    return strings


def from_strings(kind: type[T], strings: Mapping[str, str]) -> T:
    """What `to_strings` wrote, as a `kind`; other strings are left alone.

    Raises ValueError, which names the field that does not fit.
    """
    return from_plain(kind, _plain(kind, strings))


def _plain(kind: Any, strings: Mapping[str, str]) -> dict[str, object]:
    hints = get_type_hints(kind)
    plain: dict[str, object] = {}
    for name in (field.name for field in dataclasses.fields(kind)):
        if dataclasses.is_dataclass(hints[name]):
            plain[name] = _plain(hints[name], strings)
        elif name in strings:
            plain[name] = _value(hints[name], strings[name])
    return plain


def _value(kind: Any, text: str) -> object:
    """As JSON would have it; a string that is no such value stays, for `from_plain` to refuse."""
    if get_origin(kind) is tuple:
        return [_value(get_args(kind)[0], part) for part in text.split(",") if part]
    if kind is bool:
        return {"true": True, "false": False}.get(text, text)
    if kind is int:
        try:
            return int(text)
        except ValueError:
            return text
    return text
