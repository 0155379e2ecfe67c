"""The quick starts of docs/quickstart/: their commands, run, and what they say is seen.

Each block of `bash` is run as one script, in a folder of the page's own that looks like the
repository's root. The next block of `text` is what was seen. A block that cannot be run here is
marked by a comment, `<!-- not run: WHY -->`, somewhere before it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "quickstart"


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A block of commands, and what is seen after it."""

    commands: str
    seen: str | None
    not_run: str | None
    """Why not."""


@dataclass(frozen=True, slots=True)
class Ran:
    """A block that was run in `place`, and what it printed."""

    block: Block
    place: Path
    done: subprocess.CompletedProcess[str]


def blocks_of(page: str) -> list[Block]:
    """The blocks of `docs/quickstart/<page>.md`."""
    text = (FOLDER / f"{page}.md").read_text("utf-8")
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


def run_page(page: str, place: Path) -> list[Ran]:
    """Run a page in `place`, up to the first block that fails."""
    for name in ("vidtok_ref", "examples"):  # what the pages name
        (place / name).symlink_to(ROOT / name)
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    ran: list[Ran] = []
    for block in blocks_of(page):
        if block.not_run:
            continue
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block.commands],
            cwd=place,
            env={**os.environ, "PATH": programs},
            capture_output=True,
            text=True,
        )
        ran.append(Ran(block, place, done))
        if done.returncode:
            break
    return ran
