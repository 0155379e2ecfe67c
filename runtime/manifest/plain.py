"""Dataclasses from untrusted JSON, strictly: every field present, of its type, and no other field.

What was added to a format later may be absent (`ADDED_LATER`, the metadata of such a field); its
default then stands for "not known".

Written here because the runtime's only hard dependency is numpy.
"""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Mapping
from enum import Enum
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

__all__ = ["ADDED_LATER", "from_plain", "to_plain"]

ADDED_LATER: Mapping[str, bool] = {"added_later": True}

T = TypeVar("T")


def from_plain(kind: type[T], value: object, where: str = "") -> T:
    """`value`, as JSON gives it, as a `kind`; ValueError names the field that does not fit.

    >>> @dataclasses.dataclass
    ... class Point:
    ...     x: int
    >>> from_plain(Point, {"x": 1})
    Point(x=1)
    >>> from_plain(Point, {"x": "1"})
    Traceback (most recent call last):
    ValueError: x: expected int, got '1'
    """
    result: T = _convert(kind, value, where)
    return result


def to_plain(value: Any) -> Any:
    """A dataclass as JSON has it, without what was added later and is not known."""
    if dataclasses.is_dataclass(value):
        facts = ((field, getattr(value, field.name)) for field in dataclasses.fields(value))
        return {
            field.name: to_plain(fact)
            for field, fact in facts
            if field.metadata != ADDED_LATER or fact != field.default
        }
    if isinstance(value, tuple | list):
        return [to_plain(item) for item in value]
    if isinstance(value, dict):
        return {name: to_plain(item) for name, item in value.items()}
    return value


def _convert(kind: Any, value: object, where: str) -> Any:
    origin = get_origin(kind)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _dataclass(kind, value, where)
    if origin in (Union, types.UnionType):
        options = [k for k in get_args(kind) if k is not type(None)]
        return None if value is None else _convert(options[0], value, where)
    if origin is Literal:
        if value not in get_args(kind) or isinstance(value, bool):
            raise _wrong(where, " or ".join(map(repr, get_args(kind))), value)
        return value
    if isinstance(kind, type) and issubclass(kind, Enum):
        if not isinstance(value, str) or value not in {member.value for member in kind}:
            raise _wrong(where, " or ".join(repr(member.value) for member in kind), value)
        return kind(value)
    if origin in (tuple, list):
        if not isinstance(value, list):
            raise _wrong(where, "a list", value)
        item = get_args(kind)[0]
        return origin(_convert(item, v, f"{where}[{i}]") for i, v in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            raise _wrong(where, "an object", value)
        item = get_args(kind)[1]
        return {
            _convert(str, k, where): _convert(item, v, f"{where}.{k}") for k, v in value.items()
        }
    if kind is float:
        return _number(value, where)
    if kind in (str, int, bool):
        if type(value) is not kind:
            raise _wrong(where, kind.__name__, value)
        if isinstance(value, str) and any("\ud800" <= c <= "\udfff" for c in value):
            raise _wrong(where, "text", value)  # half of a UTF-16 pair: cannot be printed
        return value
    raise TypeError(f"from_plain cannot make a {kind}")  # a field of ours, not the user's


def _number(value: object, where: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)  # JSON has one kind of number: 1 is 1.0
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return number
    raise _wrong(where, "a finite number", value)  # Python reads NaN, Infinity and 1e999 in JSON


def _dataclass(kind: type, value: object, where: str) -> Any:
    if not isinstance(value, dict):
        raise _wrong(where, f"an object ({kind.__name__})", value)
    hints = _hints(kind)
    known = {field.name: field for field in dataclasses.fields(kind)}
    names = [n for n, field in known.items() if n in value or field.metadata != ADDED_LATER]
    dot = f"{where}." if where else ""
    for name in names:
        if name not in value:
            raise ValueError(f"{dot}{name} is missing")
    for name in value:
        if name not in known:
            raise ValueError(f"{dot}{name!r} is not a known field"[:200])
    fields = {name: _convert(hints[name], value[name], dot + name) for name in names}
    try:
        return kind(**fields)
    except ValueError as error:  # its own check: it does not know its place in the document
        raise ValueError(f"{where or 'the document'}: {error}") from None


@cache
def _hints(kind: type) -> dict[str, Any]:
    """The types of the fields; Python parses them anew at each call, for half a millisecond."""
    return get_type_hints(kind)


def _wrong(where: str, expected: str, value: object) -> ValueError:
    shown = repr(value)
    return ValueError(
        f"{where or 'the document'}: expected {expected}, "
        f"got {shown if len(shown) <= 60 else shown[:57] + '...'}"
    )
