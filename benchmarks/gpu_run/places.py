"""Where a run reads and writes."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ROOT", "Places"]

ROOT = Path(__file__).resolve().parents[2]
"""Of the checkout."""


@dataclass(frozen=True, slots=True)
class Places:
    """Folders of a run."""

    output: Path
    """Results, which are kept."""
    scratch: Path
    """Bundles and engines, which are not."""
    given: Path | None = None
    """A bundle to take in place of an export."""

    @property
    def bundle(self) -> Path:
        """The embedded model's."""
        return self.scratch / "embedded"

    @property
    def full(self) -> Path:
        """The full-width model's, in form conv2d."""
        return self.scratch / "full" / "conv2d"

    def found(self, name: str) -> Path:
        """The JSON that the step `name` writes."""
        return self.output / "steps" / f"{name}.json"

    @property
    def logs(self) -> Path:
        """What steps printed."""
        return self.output / "logs"

    @property
    def shown(self) -> dict[str, str]:
        """What stands for each place in what is written: results are made to be sent away."""
        given = {} if self.given is None else {str(self.given): "BUNDLE"}
        return given | {
            str(self.scratch): "SCRATCH",
            str(self.output): "OUT",
            sys.executable: "python",
            f"{ROOT}/": "",
            str(Path.home()): "~",
        }

    @property
    def environment(self) -> dict[str, str]:
        """Of every step: the checkout's modules first."""
        paths = [str(ROOT / name) for name in ("src", "benchmarks", "tests")]
        paths += filter(None, [os.environ.get("PYTHONPATH")])
        return {"PYTHONPATH": os.pathsep.join(paths)}
