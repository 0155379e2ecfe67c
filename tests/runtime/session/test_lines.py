"""Bytes to lines: however they come, and never more of them held than allowed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vidtok_edge.runtime.session.lines import Lines

LONGEST = 8


@given(st.lists(st.text("ab\n", min_size=1, max_size=30).map(str.encode), max_size=10))
def test_lines_are_the_same_however_they_come(pieces: list[bytes]) -> None:
    lines, found = Lines(LONGEST), list[bytes | None]()
    for piece in pieces:
        found += lines.of(piece)
        assert len(lines._held) <= LONGEST
    found += lines.of(b"")
    whole = [line for line in b"".join(pieces).split(b"\n") if line]
    assert found == [line if len(line) <= LONGEST else None for line in whole]


def test_spaces_around_a_line_and_empty_lines_are_nothing() -> None:
    lines = Lines(LONGEST)
    assert list(lines.of(b" a b \r\n\n  \nc")) == [b"a b"]
    assert list(lines.of(b"")) == [b"c"]
