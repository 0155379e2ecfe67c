"""`doctor --check`."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from vidtok_edge.cli import main
from vidtok_edge.errors import CheckFailed
from vidtok_edge.runtime.bench.meters import checks
from vidtok_edge.runtime.bench.meters.checks import Check

GOOD = Check(name="clocks", found="fixed", expected="fixed", remedy="", as_expected=True)
SILENT = Check(name="L4T", found="", expected="36.4", remedy="x", as_expected=False)
OFF = Check(
    name="swap", found="full", expected="empty", remedy="sudo swapoff -a", as_expected=False
)


def checked(monkeypatch: pytest.MonkeyPatch, found: list[Check], *more: str) -> tuple[int, str]:
    seen: list[Path] = []

    def check_machine(folder: Path) -> list[Check]:
        seen.append(folder)
        return found

    monkeypatch.setattr(checks, "check_machine", check_machine)
    result = CliRunner().invoke(main, ["doctor", "--check", *more])
    assert seen == [Path(more[1]) if more else Path()]
    return result.exit_code, result.output


def test_a_machine_that_is_as_it_should_be(monkeypatch: pytest.MonkeyPatch) -> None:
    code, said = checked(monkeypatch, [GOOD, SILENT])
    assert code == 0 and "as it should be" in said
    assert ["??" in line for line in said.splitlines()[:2]] == [False, True]


def test_what_is_off_comes_with_what_mends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    code, said = checked(monkeypatch, [GOOD, OFF], "--folder", "somewhere")
    assert code == CheckFailed.exit_code == 1
    assert "sudo swapoff -a" in said and "1 of 2 are not as they should be: swap." in said


def test_a_folder_is_of_the_check() -> None:
    result = CliRunner().invoke(main, ["doctor", "--folder", "."])
    assert result.exit_code == 2 and "give --check, too" in result.output
