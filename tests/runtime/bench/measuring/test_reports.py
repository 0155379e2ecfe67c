"""A bundle's report that cannot be used costs the benchmark its figures alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from vidtok_edge.runtime.bench.measuring.reports import PARITY_REPORT, qualities_of


@pytest.mark.parametrize(
    "text",
    [
        "[" * 200_000,
        '{"losses": ' + "[" * 200_000,
        '{"losses": [{"source_psnr_db": 1' + "0" * 400 + "}]}",
        '{"losses": 5}',
        '["losses"]',
        "\x00",
        "",
    ],
)
def test_a_report_that_makes_no_sense_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / PARITY_REPORT).parent.mkdir()
    (tmp_path / PARITY_REPORT).write_text(text)
    assert qualities_of(tmp_path) == []
