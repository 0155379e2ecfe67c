"""How messages name weights."""

from __future__ import annotations

import pytest

from vidtok_edge.runtime.manifest import identity
from vidtok_edge.runtime.manifest.identity import EMBEDDED_SINCE, weights_named

FIRST, SECOND = "a" * 64, "b" * 64


@pytest.mark.parametrize(
    ("sha256", "named"),
    [
        (FIRST, "aaaaaaaaaaaa (the embedded default since 0.1.0, which changed with 0.3.0)"),
        (SECOND, "bbbbbbbbbbbb (the embedded default since 0.3.0)"),
        ("c" * 64, "cccccccccccc"),
        ("", "unknown"),
    ],
)
def test_the_versions_of_the_embedded_default(
    sha256: str, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity, "EMBEDDED_SINCE", {FIRST: "0.1.0", SECOND: "0.3.0"})
    assert weights_named(sha256) == named


def test_the_weights_that_ship_are_the_last_of_the_table() -> None:
    vidtok_ref = pytest.importorskip("vidtok_edge.vidtok_ref", reason="needs torch")
    origin = vidtok_ref.load_weights("fsq", None)[1]
    assert list(EMBEDDED_SINCE)[-1] == origin.sha256
