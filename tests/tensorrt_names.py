"""Every TensorRT name that a source file uses, and which TensorRT versions lack it.

A small type inference over the syntax tree: `trt.X`, parameters annotated with the protocols of
`runtime/backends/engines/api.py`, and what their methods return. A name may be absent where the
same function asks for it with `hasattr`.
"""

from __future__ import annotations

import ast
import json
import typing
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from vidtok_edge.runtime.backends.engines import api

__all__ = ["VERSIONS", "Use", "names_of", "protocol_names", "uses", "wanting"]

_NAMES = json.loads(
    (Path(__file__).parent / "runtime" / "backends" / "engines" / "tensorrt_names.json").read_text()
)
VERSIONS: tuple[str, ...] = tuple(_NAMES["beside"])
MODULE = "TensorRT"
"""The protocol of the module itself."""

_FIELDS = {
    "library": MODULE,
    "builder": "Builder",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
}
"""Fields of our own dataclasses that hold something of TensorRT."""


@dataclass(frozen=True, slots=True)
class Use:
    """`owner.name`, in a line of a file; the module's own names have no owner."""

    owner: str
    name: str
    line: int
    guarded: bool


@cache
def names_of(version: str) -> dict[str, frozenset[str]]:
    """The classes of a TensorRT version, and the names in each."""
    found = {kind: set(names.split()) for kind, names in _NAMES["common"].items()}
    for kind, names in _NAMES["beside"][version].items():
        found.setdefault(kind, set()).update(names.split())
    return {kind: frozenset(names) for kind, names in found.items()}


def wanting(found: typing.Iterable[Use]) -> list[str]:
    """`line 3: BuilderFlag.FP16 is not in 11.4.0`, for every name that a version lacks."""
    return [
        f"line {use.line}: {use.owner or 'tensorrt'}.{use.name} is not in TensorRT {version}"
        for use in found
        for version in VERSIONS
        if not use.guarded and not _has(version, use)
    ]


def _has(version: str, use: Use) -> bool:
    classes = names_of(version)
    if use.owner == "Enumerator":  # of which enumeration is not known; all have these two
        return use.name in ("name", "value")
    if not use.owner:
        return use.name in classes
    return use.name in classes.get(use.owner, ())


def protocol_names() -> list[Use]:
    """Every name that `runtime/backends/engines/api.py` declares."""
    found = []
    for kind, members in _protocols().items():
        owner = "" if kind == MODULE else kind
        found += [Use(owner, name, 0, False) for name in members if not name.startswith("__")]
        if kind == MODULE:
            for name, inner in members.items():
                declared = _protocol_members(inner) if inner.startswith("_") else {}
                found += [Use(name, member, 0, False) for member in declared]
    return found


def uses(source: str) -> list[Use]:
    """Every TensorRT name that `source` uses, as far as its types can be followed."""
    tree = ast.parse(source)
    returns = {
        node.name: _class_in(node.returns)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
    }
    found: list[Use] = []
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            found += _Reader(function, returns).read()
    return found


@dataclass
class _Reader:
    function: ast.FunctionDef
    returns: dict[str, str | None]
    types: dict[str, str] = field(default_factory=dict)

    def read(self) -> list[Use]:
        arguments = self.function.args
        for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
            if kind := _class_in(argument.annotation):
                self.types[argument.arg] = kind
        for _ in range(2):  # comprehensions use names before the walk meets their binding
            for node in ast.walk(self.function):
                self._bind(node)
        guarded = set(self._guards())
        return [
            Use("" if owner == MODULE else owner, node.attr, node.lineno, node.attr in guarded)
            for node in ast.walk(self.function)
            if isinstance(node, ast.Attribute)
            and not node.attr.startswith("__")
            and (owner := self._type(node.value)) is not None
        ]

    def _bind(self, node: ast.AST) -> None:
        pairs: list[tuple[ast.expr, ast.expr]] = []
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            target, value = node.targets[0], node.value
            if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
                pairs += zip(target.elts, value.elts, strict=False)
            pairs.append((target, value))
        elif isinstance(node, ast.NamedExpr):
            pairs.append((node.target, node.value))
        elif isinstance(node, ast.For | ast.comprehension):
            pairs.append((node.target, node.iter))
        for target, value in pairs:
            if isinstance(target, ast.Name) and (kind := self._type(value)):
                self.types[target.id] = kind

    def _guards(self) -> Iterator[str]:
        for node in ast.walk(self.function):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                is_guard = node.func.id == "hasattr" and isinstance(node.args[1], ast.Constant)
                if is_guard:
                    yield str(typing.cast(ast.Constant, node.args[1]).value)

    def _type(self, node: ast.expr) -> str | None:
        """The TensorRT class of an expression; of a list or generator, that of its items."""
        if isinstance(node, ast.Name):
            return "TensorRT" if node.id == "trt" else self.types.get(node.id)
        if isinstance(node, ast.Attribute):
            owner = self._type(node.value)
            if owner is None:
                return _FIELDS.get(node.attr)
            declared = _protocols().get(owner, {}).get(node.attr)
            enumeration = owner == MODULE and (not declared or declared.startswith("_"))
            return node.attr if enumeration else declared or None
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name):
                return self.returns.get(node.func.id)
            return self._type(node.func)
        if isinstance(node, ast.ListComp | ast.GeneratorExp):
            return self._type(node.elt)
        if isinstance(node, ast.Subscript):
            return self._type(node.value)
        return None


@cache
def _protocols() -> dict[str, dict[str, str]]:
    """Each protocol's members, and the protocol that each is or returns ("" where it is none)."""
    return {name: _protocol_members(name) for name in api.__all__ if name != "Enumerator"}


def _protocol_members(name: str) -> dict[str, str]:
    tree = ast.parse(Path(api.__file__).read_text(encoding="utf-8"))
    members: dict[str, str] = {}
    for node in ast.walk(tree):
        if not isinstance(node, ast.ClassDef) or node.name != name:
            continue
        for base in node.bases:
            if isinstance(base, ast.Name) and base.id != "Protocol":
                members |= _protocol_members(base.id)
        for statement in node.body:
            if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                members[statement.target.id] = _class_in(statement.annotation) or ""
            elif isinstance(statement, ast.FunctionDef):
                members[statement.name] = _class_in(statement.returns) or ""
    return members


def _class_in(annotation: ast.expr | None) -> str | None:
    """The protocol that an annotation names: `list[ILayer]` is ILayer, `ITensor | None` ITensor."""
    if annotation is None:
        return None
    for node in ast.walk(annotation):
        if isinstance(node, ast.Name) and hasattr(api, node.id):
            name = node.id
            known = f"class {name}(" in _api_source()
            if known:
                return name
            if f"\n{name} = " in _api_source():  # an alias with an underscore
                return name.lstrip("_")
    return None


@cache
def _api_source() -> str:
    return Path(api.__file__).read_text(encoding="utf-8")
