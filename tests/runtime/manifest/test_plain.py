"""Dataclasses from JSON, strictly."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidtok_edge.runtime.manifest.plain import from_plain


@dataclass(frozen=True)
class Inner:
    name: str
    sizes: tuple[int, ...]


@dataclass(frozen=True)
class Outer:
    flag: bool
    mode: Literal["a", "b"]
    inner: Inner
    many: tuple[Inner, ...]
    note: str | None


@dataclass(frozen=True)
class Measure:
    value: float
    spare: float | None = None

    def __post_init__(self) -> None:
        if self.value < 0:
            raise ValueError("a measure is not negative")


@dataclass(frozen=True)
class Measures:
    all: tuple[Measure, ...]


inners = st.builds(Inner, st.text(st.characters(codec="utf-8")), st.tuples(st.integers()))
outers = st.builds(
    Outer,
    st.booleans(),
    st.sampled_from(["a", "b"]),
    inners,
    st.lists(inners).map(tuple),
    st.none() | st.just("x"),
)
GOOD = asdict(Outer(True, "a", Inner("x", (1, 2)), (Inner("y", ()),), None))


@given(outers)
def test_round_trip(value: Outer) -> None:
    assert from_plain(Outer, json.loads(json.dumps(asdict(value)))) == value


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"flag": 1}, "flag: expected bool, got 1"),
        ({"mode": "c"}, "mode: expected 'a' or 'b', got 'c'"),
        ({"mode": ["a"]}, "mode: expected 'a' or 'b', got ['a']"),
        ({"inner": []}, "inner: expected an object (Inner), got []"),
        ({"inner": {"name": "x"}}, "inner.sizes is missing"),
        ({"inner": {"name": "x", "sizes": [], "z": 1}}, "inner.'z' is not a known field"),
        ({"inner": {"name": "x", "sizes": "12"}}, "inner.sizes: expected a list, got '12'"),
        ({"inner": {"name": "x", "sizes": [1, 2.0]}}, "inner.sizes[1]: expected int, got 2.0"),
        ({"inner": {"name": "x", "sizes": [True]}}, "inner.sizes[0]: expected int, got True"),
        ({"many": [{"name": None, "sizes": []}]}, "many[0].name: expected str, got None"),
        ({"note": 3}, "note: expected str, got 3"),
        ({"note": "\ud800"}, r"note: expected text, got '\ud800'"),
        ({"flag": "x" * 100}, "flag: expected bool, got '" + "x" * 56 + "..."),
    ],
)
def test_what_does_not_fit_is_named(changes: dict[str, Any], sentence: str) -> None:
    value = json.loads(json.dumps({**GOOD, **changes}))
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        from_plain(Outer, value)


@pytest.mark.parametrize("value", [None, 1, "x", [], [GOOD]])
def test_no_object_at_all(value: object) -> None:
    with pytest.raises(ValueError, match="the document: expected an object"):
        from_plain(Outer, value)


numbers = st.floats(0, allow_nan=False, allow_infinity=False)


@given(numbers, st.none() | numbers)
def test_floats_round_trip(value: float, spare: float | None) -> None:
    measure = Measure(value, spare)
    assert from_plain(Measure, json.loads(json.dumps(asdict(measure)))) == measure


def test_a_whole_number_is_a_float() -> None:
    value = from_plain(Measure, json.loads('{"value": 3, "spare": null}')).value
    assert value == 3.0
    assert type(value) is float


@pytest.mark.parametrize(
    ("text", "got"),
    [
        ("true", "True"),
        ("null", "None"),
        ('"1"', "'1'"),
        ("[1]", "[1]"),
        ("NaN", "nan"),
        ("-Infinity", "-inf"),
        ("1e999", "inf"),
        ("1" + "0" * 400, "1" + "0" * 56 + "..."),
    ],
)
def test_what_is_no_finite_number(text: str, got: str) -> None:
    value = json.loads(f'{{"value": {text}, "spare": null}}')
    sentence = re.escape(f"value: expected a finite number, got {got}")
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        from_plain(Measure, value)


def test_a_check_of_the_dataclass_itself_is_told_with_its_place() -> None:
    bad = {"all": [{"value": 1, "spare": None}, {"value": -1, "spare": None}]}
    with pytest.raises(ValueError, match=r"^all\[1\]: a measure is not negative$"):
        from_plain(Measures, bad)
    with pytest.raises(ValueError, match=r"^the document: a measure is not negative$"):
        from_plain(Measure, bad["all"][1])


@dataclass
class Rows:
    rows: list[list[int]]


def test_lists_of_lists() -> None:
    assert from_plain(Rows, {"rows": [[1, 2], []]}) == Rows([[1, 2], []])
    with pytest.raises(ValueError, match=r"rows\[1\]\[0\]: expected int, got 'x'"):
        from_plain(Rows, {"rows": [[1], ["x"]]})
