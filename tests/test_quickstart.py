"""The quick starts do what they say: their commands are run, and what is printed is compared.

In docs/quickstart/ each block of `bash` is run as one script, in a folder of the page's own that
looks like the repository's root after `make demo`, with a smaller bundle. The next block of `text`
is what was seen: there numbers and runs of spaces are free, and `…` stands for anything. A block
that cannot be run here is marked by a comment, `<!-- not run: WHY -->`, somewhere before it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from vidtok_edge.export import Exported

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "quickstart"
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A block of commands, and what is seen after it."""

    commands: str
    seen: str | None
    not_run: str | None
    """Why not."""


def blocks_of(text: str) -> list[Block]:
    parts = re.findall(r"<!-- not run: (.*?) -->|```(\w+)\n(.*?)```", text, re.DOTALL)
    found: list[Block] = []
    why: str | None = None
    for k, (reason, language, inside) in enumerate(parts):
        if reason:
            why = reason
        elif language == "bash":
            behind = parts[k + 1] if k + 1 < len(parts) else ("", "", "")
            seen = behind[2] if behind[1] == "text" else None
            found.append(Block(commands=inside, seen=seen, not_run=why))
            why = None
    return found


def same(seen: str, printed: str) -> bool:
    """Whether `printed` is what a page says, but for numbers and spaces."""
    pattern = ""
    for token in re.findall(rf"…|\s+|{NUMBER}|.", seen.strip(), re.DOTALL):
        if token == "…":
            pattern += r"[\s\S]*"
        elif token.isspace():
            pattern += r"\s+"
        else:
            pattern += NUMBER if re.fullmatch(NUMBER, token) else re.escape(token)
    return re.fullmatch(pattern, printed.strip()) is not None


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """What lies in the repository's root, as far as the pages name it."""
    for name in ("vidtok_ref", "examples"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def run_page(page: str, place: Path) -> None:
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for block in blocks_of((FOLDER / f"{page}.md").read_text("utf-8")):
        if block.not_run:
            continue
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block.commands],
            cwd=place,
            env={**os.environ, "PATH": programs},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{block.commands}{done.stdout}{done.stderr}"
        if block.seen is not None:
            assert same(block.seen, done.stdout), f"{block.commands}{done.stdout}"


@pytest.mark.xdist_group("embedded")
@pytest.mark.parametrize("page", ["run", "record_a_robot", "train_on_recordings", "benchmark"])
def test_a_page_shows_what_is_seen(page: str, place: Path, embedded: Exported) -> None:
    (place / "demo").mkdir()
    (place / "demo" / "vidtok-fsq").symlink_to(embedded.bundle.path)
    run_page(page, place)


@pytest.mark.xdist_group("embedded")
def test_engines(place: Path, embedded: Exported) -> None:
    pytest.importorskip("tensorrt_rtx", reason="builds engines without a GPU")
    shutil.copytree(embedded.bundle.path, place / "demo" / "vidtok-fsq")
    run_page("build_engines", place)


@pytest.mark.slow
def test_an_export(place: Path) -> None:
    pytest.importorskip("torch", reason="exports a model")
    run_page("export", place)


@pytest.mark.xdist_group("precisions")
def test_a_calibration(place: Path, precisions: Exported) -> None:
    (place / "demo").mkdir()
    (place / "demo" / "vidtok-fsq").symlink_to(precisions.bundle.path)
    run_page("calibrate", place)


def test_every_page_is_run_but_for_blocks_that_say_why_not() -> None:
    tested = {"run", "record_a_robot", "train_on_recordings", "benchmark"}
    tested |= {"build_engines", "export", "calibrate"}
    assert tested | WHOLLY_NOT_RUN == set(PAGES)
    texts = {page: (FOLDER / f"{page}.md").read_text("utf-8") for page in PAGES}
    found = {(page, b.not_run) for page in tested for b in blocks_of(texts[page]) if b.not_run}
    assert found == NOT_RUN
    for page in WHOLLY_NOT_RUN:
        assert "**Unverified on hardware**" in texts[page]
    for page in tested:
        seen = [block.seen for block in blocks_of(texts[page]) if not block.not_run]
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
