"""Which room may import which, read from the table in ARCHITECTURE.md: one place for that fact.

A room is a folder, or a file where it stands alone; what lies in a folder that is a room of its own
does not belong to the folder above it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ROOT", "Import", "Room", "circles", "imports_of", "modules", "room_of", "rooms"]

ROOT = Path(__file__).resolve().parents[1]
_PACKAGE = "vidtok_edge"
_TOPS = ("vidtok_ref", "lowering", "calib", "export", "runtime", "commands", "datasets")


@dataclass(frozen=True, slots=True)
class Room:
    """A row of the table. `name` is a path from the root, without `.py`."""

    name: str
    may_import: tuple[str, ...]
    """Rooms; one that is named brings those inside it only where they are named too."""
    packages: tuple[str, ...]
    """Packages of others, beside the standard library."""


@dataclass(frozen=True, slots=True)
class Import:
    """One import of ours or of a package, wherever in a file it stands."""

    module: str
    """Dotted, without `vidtok_edge.`, of the file that imports."""
    target: str
    """Dotted; a module of ours without `vidtok_edge.`, or the top name of a package."""
    ours: bool
    lazy: bool
    """Inside a function."""
    typing: bool
    """Under TYPE_CHECKING."""


def rooms(document: str | None = None) -> dict[str, Room]:
    """The table, by name."""
    text = (ROOT / "ARCHITECTURE.md").read_text("utf-8") if document is None else document
    found = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if len(cells) == 4 and re.fullmatch(r"`[\w/]+(\.py)?`", cells[0]):
            names = [re.findall(r"`([\w/]+?)/?(?:\.py)?`", cell) for cell in cells]
            [name] = names[0]
            found[name] = Room(name, tuple(names[2]), tuple(names[3]))
    return found


def modules(root: Path = ROOT) -> dict[str, Path]:
    """Every module of the product by its dotted name; a package is named as its folder."""
    files = [path for top in _TOPS for path in sorted((root / top).rglob("*.py"))]
    files += sorted(root.glob("*.py"))
    named = {}
    for path in files:
        parts = path.relative_to(root).with_suffix("").parts
        named[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return named


def room_of(module: str, names: Iterable[str]) -> str | None:
    """The innermost of the rooms `names` that holds `module`."""
    path = module.replace(".", "/")
    inside = [name for name in names if path == name or path.startswith(name + "/")]
    return max(inside, key=len, default=None)


def imports_of(module: str, path: Path, known: Mapping[str, Path]) -> Iterator[Import]:
    """What a file imports."""
    for node, lazy, typing in _import_nodes(ast.parse(path.read_text("utf-8")), False, False):
        if isinstance(node, ast.Import):
            names = [(alias.name, "") for alias in node.names]
        else:
            names = [(str(node.module), alias.name) for alias in node.names]
        for source, name in names:
            top, _, rest = source.partition(".")
            if top != _PACKAGE:
                yield Import(module, top, False, lazy, typing)
                continue
            inner = f"{rest}.{name}".strip(".")
            if inner in known or rest:
                yield Import(module, inner if inner in known else rest, True, lazy, typing)


def _import_nodes(
    node: ast.AST, lazy: bool, typing: bool
) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, lazy, typing
        inside = lazy or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
        types = typing or (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test))
        yield from _import_nodes(child, inside, types)


def circles(arrows: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """The groups of names that reach each other (Tarjan's strongly connected components)."""
    numbers: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        numbers[name] = lowest[name] = len(numbers)
        stack.append(name)
        for other in arrows.get(name, ()):
            if other not in numbers:
                visit(other)
                lowest[name] = min(lowest[name], lowest[other])
            elif other in stack:
                lowest[name] = min(lowest[name], numbers[other])
        if lowest[name] == numbers[name]:
            at = stack.index(name)
            group = stack[at:]
            del stack[at:]
            if len(group) > 1:
                found.append(sorted(group))

    for name in arrows:
        if name not in numbers:
            visit(name)
    return found
