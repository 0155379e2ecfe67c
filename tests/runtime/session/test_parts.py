"""Plans of parts that mean something."""

from __future__ import annotations

from typing import Any

import pytest

from vidtok_edge.errors import UsageError
from vidtok_edge.runtime.session.parts import PartsPlan


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        ({"split_bytes": 10}, "A part has 10 bytes; allowed: 1000000 or more"),
        ({"split_s": 0.1}, "A part lasts 0.1 s; allowed: 1 or more"),
        ({"split_s": float("nan")}, "A part lasts nan s"),
        ({"keep_bytes": 10**9}, "Only finished parts are removed"),
        ({"keep_free_bytes": 10**9}, "Only finished parts are removed"),
        ({"split_bytes": 10**6, "keep_bytes": 10**6}, "two of them would have 2000000"),
    ],
)
def test_plans_that_contradict_themselves(plan: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        PartsPlan(**plan)
