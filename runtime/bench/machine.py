"""The machine that a benchmark ran on."""

from __future__ import annotations

from dataclasses import dataclass, field

from vidtok_edge.runtime.manifest.plain import ADDED_LATER

__all__ = ["Machine"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Facts of the machine; empty or None where it does not tell."""

    board: str
    """As the device tree names it; a PC has none."""
    l4t: str
    """A Jetson's release of Linux, NVIDIA's line about it."""
    cpu: str
    cores: int
    """That this process may use."""
    memory_gb: float | None
    """Main memory, GB of 1e9 bytes."""
    system: str
    python: str
    packages: dict[str, str]
    gpu: str
    power_mode: str
    """Of a Jetson (nvpmodel), or the CPU's frequency governor."""
    load_average: float | None
    """Of the last minute, before the first turn: whether something else was running."""
    virtual: bool | None
    """Whether the CPU says that it is a virtual machine's: neighbours may take its time."""
    off_reference: tuple[str, ...] = field(default=(), metadata=ADDED_LATER)
    """What is not set as a machine of its kind should be: `vidtok-edge doctor --check`."""

    def rows(self) -> list[tuple[str, str]]:
        """For a table."""
        rows = [
            ("CPU", self.cpu + (", a virtual machine's" if self.virtual else "")),
            ("cores", str(self.cores)),
            ("memory", "" if self.memory_gb is None else f"{self.memory_gb:.1f} GB"),
            ("GPU", self.gpu),
            ("power mode", self.power_mode),
            ("system", self.system),
            ("Python", self.python),
            ("packages", ", ".join(f"{k} {v}" for k, v in self.packages.items())),
            (
                "load average before",
                "" if self.load_average is None else f"{self.load_average:.2f}",
            ),
        ]
        boards = [("board", self.board), ("L4T", self.l4t)]
        rows = [row for row in boards if row[1]] + rows
        if self.off_reference:
            rows.append(("not as it should be", "; ".join(self.off_reference)))
        return [(name, value or "not told") for name, value in rows]
