"""The extras of this distribution, and the packages that each brings, as its metadata says.

An editable install has the metadata of the time when it was installed. A checkout that is used
through PYTHONPATH alone has none: its `pyproject.toml` is read. Where that cannot be read either
(Python 3.10 without tomli), no extra is known, nothing is required ahead, and what is missing is
told when it is imported.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import vidtok_edge
from vidtok_edge.errors import MissingDependency

__all__ = ["extra_with", "extras", "require"]

_MODULES = {  # where the name is not the distribution's
    "pillow": "PIL",
    "pyyaml": "yaml",
    "rerun-sdk": "rerun",
    "mcap-ros2-support": "mcap_ros2",
    "nvidia-ml-py": "pynvml",
    "cuda-bindings": "cuda",
    "onnxruntime-gpu": "onnxruntime",
}


@cache
def extras() -> Mapping[str, tuple[str, ...]]:
    """The distributions of each extra, as far as they are for this machine."""
    found: dict[str, list[str]] = {}
    for line in _requirements():
        name, _, marker = line.partition(";")
        clauses = re.findall(r"(\w+) *([<>=!]+) *['\"]([^'\"]*)['\"]", marker)
        wanted = [value for variable, _, value in clauses if variable == "extra"]
        if wanted and all(_holds(*clause) for clause in clauses):
            found.setdefault(wanted[0], []).append(re.split(r"[^\w.-]", name.strip())[0])
    return {extra: tuple(names) for extra, names in found.items()}


def extra_with(distribution: str) -> str:
    """The smallest extra that brings a distribution; empty: none does."""
    bringing = {extra: len(names) for extra, names in extras().items() if distribution in names}
    return min(bringing, key=bringing.__getitem__, default="")


def require(extra: str, purpose: str, but: Sequence[str] = ()) -> None:
    """Raise MissingDependency unless the packages of `extra` are there, those in `but` aside."""
    for name in extras().get(extra, ()):
        module = _MODULES.get(name, name.replace("-", "_"))
        if name not in but and importlib.util.find_spec(module) is None:
            raise MissingDependency(module, extra, purpose)


def _requirements() -> list[str]:
    try:
        return importlib.metadata.requires("vidtok-edge") or []
    except importlib.metadata.PackageNotFoundError:
        return _of_checkout(Path(str(vidtok_edge.__file__)).parents[2] / "pyproject.toml")


def _of_checkout(pyproject: Path) -> list[str]:
    try:
        toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
        declared = toml.loads(pyproject.read_text("utf-8"))["project"]["optional-dependencies"]
    except (ImportError, OSError):
        return []
    return [
        f"{line}{' and' if ';' in line else ';'} extra == '{extra}'"
        for extra, lines in declared.items()
        for line in lines
    ]


def _holds(variable: str, relation: str, value: str) -> bool:
    """One clause of a marker; of those that we do not use, True."""
    if variable == "platform_system":
        return (platform.system() == value) == (relation == "==")
    if variable == "python_version":
        older = sys.version_info[:2] < tuple(int(part) for part in value.split("."))
        return older == (relation == "<")
    return True
