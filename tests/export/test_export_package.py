"""The package shows what its users need."""

from __future__ import annotations

import pytest

from vidtok_edge import export


@pytest.mark.parametrize("name", export.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(export, name).__name__ == name
