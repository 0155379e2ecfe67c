"""How a machine of its kind should be set: `boards.toml`, which is data."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidtok_edge.errors import MissingDependency

__all__ = ["Reference", "reference_for"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What is expected of a machine; empty where nothing is.

    Attributes:
        name: of the board; empty for any machine.
        match: a regular expression, found in the model of such boards.
        power_mode: a regular expression for the mode that nvpmodel tells.
        governor: of the CPU's frequency.
        fixed_clocks: whether the clocks shall be fixed, as jetson_clocks does.
        l4t: the oldest release of a Jetson's Linux, as `36.4`.
        driver: the oldest driver of a GPU that is no Jetson's.
        headroom_c: degrees below the temperature at which the kernel slows down.
        memory_free_mb: main memory that is to be had, MB of 1e6 bytes.
        swap_share: of the swap that there is, in use at most.
        disk_free_mb: on the disk of the bundle or recording.
        load: other work of the last minute per core, at most.
        source: where these were read.
    """

    headroom_c: float
    memory_free_mb: float
    swap_share: float
    disk_free_mb: float
    load: float
    source: str
    name: str = ""
    match: str = ""
    power_mode: str = ""
    governor: str = ""
    fixed_clocks: bool = False
    l4t: str = ""
    driver: str = ""


def reference_for(*models: str, file: Path | None = None) -> Reference:
    """The reference of the board that one of `models` names; for any machine where none does.

    MissingDependency: Python 3.10 has no reader of TOML, and tomli is not installed.
    """
    told = _toml(file or Path(__file__).with_name("boards.toml"))
    default = told["default"]
    for board in told["board"]:
        if any(re.search(board["match"], model) for model in models):
            return Reference(**{**default, **board})
    return Reference(**default)


def _toml(file: Path) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        try:
            import tomli as tomllib
        except ImportError:
            raise MissingDependency("tomli", "meters", "Checking this machine") from None
    with file.open("rb") as opened:
        return tomllib.load(opened)
