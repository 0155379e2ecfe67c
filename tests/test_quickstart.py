"""The quick starts do what they say: their commands are run, and what is printed is compared.

The folder of a page looks like the repository's root after `make demo`, with a smaller bundle. In
what was seen numbers and runs of spaces are free, and `…` stands for anything.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from quickstart import FOLDER, ROOT, Ran, blocks_of, run_page

from vidtok_edge.runtime import Bundle

if TYPE_CHECKING:
    from vidtok_edge.export import Exported

PAGES = sorted(path.stem for path in FOLDER.glob("*.md"))
NOT_RUN = {
    ("export", "needs a network and 1 GB"),
    ("export", "tests/test_cli.py verifies a bundle"),
    ("calibrate", "takes minutes; tests/export/test_recalibration.py runs the same"),
    ("build_engines", "needs an NVIDIA GPU"),
    ("record_a_robot", "needs a camera"),
}
WHOLLY_NOT_RUN = {"jetson"}  # which says so in its first line
NUMBER = r"[-+]?\d[\d.,]*(?:e[-+]\d+)?"

pytestmark = pytest.mark.skipif(not FOLDER.exists(), reason="no checkout")


def same(seen: str, printed: str, exact: bool = False) -> bool:
    """Whether `printed` is what a page says, but for spaces, and for numbers unless `exact`."""
    pattern = ""
    for token in re.findall(rf"…|\s+|{NUMBER}|.", seen.strip(), re.DOTALL):
        if token == "…":
            pattern += r"[\s\S]*"
        elif token.isspace():
            pattern += r"\s+"
        else:
            number = not exact and re.fullmatch(NUMBER, token)
            pattern += NUMBER if number else re.escape(token)
    return re.fullmatch(pattern, printed.strip()) is not None


def check(ran: list[Ran], *, other_model: bool = False) -> None:
    """What is printed is what the page says.

    What a command would do, without doing it, is the same on every machine, numbers too; but for
    an `other_model` than the page's.
    """
    for block, done in ((r.block, r.done) for r in ran):
        assert done.returncode == 0, f"{block.commands}{done.stdout}{done.stderr}"
        if block.seen is not None:
            exact = "--dry-run" in block.commands and not other_model
            assert same(block.seen, done.stdout, exact), f"{block.commands}{done.stdout}"


@pytest.mark.xdist_group("embedded")
@pytest.mark.parametrize("page", ["run", "record_a_robot", "train_on_recordings", "benchmark"])
def test_a_page_shows_what_is_seen(page: str, tmp_path: Path, embedded: Bundle) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "vidtok-fsq").symlink_to(embedded.path)
    check(run_page(page, tmp_path), other_model=True)


@pytest.mark.xdist_group("precisions")
def test_engines(tmp_path: Path, precisions: Exported) -> None:
    pytest.importorskip("tensorrt_rtx", reason="builds engines without a GPU")
    shutil.copytree(precisions.bundle.path, tmp_path / "demo" / "vidtok-fsq")
    check(run_page("build_engines", tmp_path))


@pytest.mark.xdist_group("embedded")
def test_an_export(export_page: list[Ran]) -> None:
    check(export_page)


@pytest.mark.xdist_group("precisions")
def test_a_calibration(tmp_path: Path, precisions: Exported) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "vidtok-fsq").symlink_to(precisions.bundle.path)
    check(run_page("calibrate", tmp_path), other_model=True)


def test_every_page_is_run_but_for_blocks_that_say_why_not() -> None:
    tested = {"run", "record_a_robot", "train_on_recordings", "benchmark"}
    tested |= {"build_engines", "export", "calibrate"}
    assert tested | WHOLLY_NOT_RUN == set(PAGES)
    found = {(page, b.not_run) for page in tested for b in blocks_of(page) if b.not_run}
    assert found == NOT_RUN
    for page in WHOLLY_NOT_RUN:
        assert "**Unverified on hardware**" in (FOLDER / f"{page}.md").read_text("utf-8")
    for page in tested:
        seen = [block.seen for block in blocks_of(page) if not block.not_run]
        assert seen and None not in seen, f"{page}: a block is run and nothing is compared"


@pytest.mark.parametrize(
    ("seen", "printed", "equal"),
    [
        ("4 frames,  2.5 dB\nout.mp4", "31 frames, 17 dB\nout.mp4\n", True),
        ("4 frames", "four frames", False),
        ("4 frames", "4 frames lost", False),
        ("…\nout.mp4", "much\nmore\nout.mp4", True),
        ("…\nout.mp4", "much\nmore\nin.mp4", False),
        ("0.5% of (a|b)", "10% of (a|b)", True),
    ],
)
def test_what_counts_as_the_same(seen: str, printed: str, equal: bool) -> None:
    assert same(seen, printed) is equal


def test_what_counts_as_exactly_the_same() -> None:
    assert same("16 caches,  1.9 MB", "16 caches, 1.9 MB", exact=True)
    assert not same("16 caches, 1.9 MB", "16 caches, 2.9 MB", exact=True)


def test_no_page_writes_what_the_repository_holds() -> None:
    """A reader who is told to name another output than the page has no page any more."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("no checkout")
    held = {line.split("/")[0] for line in listed.stdout.splitlines()}
    written: dict[str, str] = {}
    for page in PAGES:
        for block in blocks_of(page):
            for name in re.findall(r"(?:--output|-o) +(\S+)", block.commands):
                assert name not in held, f"{page} writes {name}, which is in the repository"
                if block.not_run or "--dry-run" in block.commands:
                    continue
                assert written.setdefault(name, page) == page, (
                    f"{name} is written by {page} and {written[name]}: the second finds it there"
                )
