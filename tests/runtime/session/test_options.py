"""How a session records: values that mean nothing."""

from __future__ import annotations

import pytest

from vidtok_edge.errors import UsageError
from vidtok_edge.runtime.session.options import RecordOptions


@pytest.mark.parametrize("name", ["key_interval_s", "duration_s"])
def test_options_that_mean_nothing(name: str) -> None:
    with pytest.raises(UsageError, match=f"{name} is 0"):
        RecordOptions(**{name: 0})  # type: ignore[arg-type]
