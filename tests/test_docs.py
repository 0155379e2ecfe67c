"""What the documents say is so: code runs, links lead somewhere, commands and names exist."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

import vidtok_edge.errors
from vidtok_edge.cli import main
from vidtok_edge.runtime import Bundle

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"]
DOCUMENTS += ["benchmarks/README.md", "examples/README.md", "vidtok_ref/embedded/CREDITS.md"]
DOCUMENTS += ["training/README.md"]
DOCUMENTS += [
    path.relative_to(ROOT).as_posix()
    for path in sorted((ROOT / "docs").rglob("*.md"))
    if "_build" not in path.parts
]
LONGEST_LINE = 200

pytestmark = pytest.mark.skipif(
    not (ROOT / "README.md").exists(), reason="the documents are those of a git checkout"
)


@pytest.mark.xdist_group("embedded")
def test_the_five_lines_of_the_readme_run(embedded: Bundle) -> None:
    text = (ROOT / "README.md").read_text()
    [code] = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert "demo/vidtok-fsq" in code
    code = code.replace("demo/vidtok-fsq", str(embedded.path))
    shown: list[np.ndarray] = []
    frames = np.zeros((9, 64, 96, 3), np.uint8)
    exec(code, {"frames": frames, "show": shown.append})
    assert len(shown) == 9 and shown[0].shape == (64, 96, 3)


def anchors_of(text: str) -> set[str]:
    """What GitHub makes of the headings."""
    headings = re.findall(
        r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE
    )
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)]+)\)", (ROOT / document).read_text()):
        path, _, anchor = link.partition("#")
        if "://" in link:
            continue
        target = (ROOT / document).parent / path if path else ROOT / document
        if not target.exists() or (anchor and anchor not in anchors_of(target.read_text())):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_lines_can_be_read(document: str) -> None:
    """Prose, that is: rows of tables and code stay as they are."""
    text = re.sub(r"```.*?```", "", (ROOT / document).read_text(), flags=re.DOTALL)
    prose = [line for line in text.splitlines() if not re.match(r"\||    ", line)]
    assert [line for line in prose if len(line) > LONGEST_LINE] == []


def test_the_readme_is_short() -> None:
    assert 500 <= len((ROOT / "README.md").read_text().split()) <= 700


def test_language_models_are_told_of_every_page() -> None:
    text = (ROOT / "docs" / "site" / "llms.txt").read_text()
    listed = re.findall(r"^- \[[^\]]+\]\(([^)]+)\)", text, flags=re.MULTILINE)
    pages = [page for page in DOCUMENTS if not re.match(r"docs/decisions/\d", page)]
    assert sorted(listed) == sorted(pages)


def test_every_decision_is_in_the_list() -> None:
    folder = ROOT / "docs" / "decisions"
    listed = re.findall(r"\]\(([^)]+)\)", (folder / "index.md").read_text())
    assert listed == sorted(path.name for path in folder.glob("[0-9]*.md"))


OF_OTHERS = {"vidtok_ref/embedded/CREDITS.md"}  # it names files in repositories of others


@pytest.mark.parametrize("document", sorted({*DOCUMENTS} - OF_OTHERS))
def test_modules_named_in_the_documents_exist(document: str) -> None:
    text = (ROOT / document).read_text()
    paths = re.findall(r"`((?:\w+/)+[\w.]*|\w+\.py)`", text)
    kept = [path for path in paths if not path.startswith("demo/")]  # what `make demo` makes
    places = (ROOT, (ROOT / document).parent)
    assert [path for path in kept if not any((place / path).exists() for place in places)] == []


def test_every_command_is_in_the_list() -> None:
    text = (ROOT / "docs" / "commands.md").read_text()
    commands = re.findall(r"^\| `(?:vidtok-edge |vidtok-)([\w-]+)", text, flags=re.MULTILINE)
    assert sorted(commands) == sorted(main.commands)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_options_of_commands_in_the_documents_exist(document: str) -> None:
    text = (ROOT / document).read_text()
    used = re.findall(
        r"^ {4}(?:vidtok-edge |vidtok-)([\w-]+)((?: [^#\n]*)?)", text, flags=re.MULTILINE
    )
    for command, arguments in used:
        known = {name for parameter in main.commands[command].params for name in parameter.opts}
        assert set(re.findall(r"--[\w-]+", arguments)) <= known, command


def test_the_script_for_a_jetson_refuses_what_is_none(tmp_path: Path) -> None:
    script = ["bash", str(ROOT / "docs" / "quickstart" / "jetson.sh")]
    for arguments, code, message in (
        ([], 2, "usage"),
        ([str(tmp_path)], 4, "has no manifest.json"),
    ):
        done = subprocess.run([*script, *arguments], capture_output=True, text=True, check=False)
        assert (done.returncode, message in done.stderr) == (code, True), done.stderr


def test_the_tree_of_errors_is_drawn_whole() -> None:
    drawn = re.findall(
        r"^\s*(?:[|`]\W+)*(\w+) {2,}", vidtok_edge.errors.__doc__ or "", re.MULTILINE
    )
    assert sorted(["VidTokEdgeError", *drawn]) == sorted(vidtok_edge.errors.__all__)
