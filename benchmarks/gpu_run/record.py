"""What a run found: one JSON file, whole after each step."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from gpu_run.step import Step
from vidtok_edge.errors import DocumentError
from vidtok_edge.runtime.bench.machine import Machine
from vidtok_edge.runtime.files import write_beside

__all__ = [
    "FORMAT",
    "RESULT",
    "SCHEMA",
    "Outcome",
    "Record",
    "Status",
    "outcomes",
    "read_record",
    "without",
]

FORMAT, SCHEMA = "vidtok-edge gpu run", 1
RESULT = "result.json"

Status = Literal["passed", "failed", "skipped", "not reached"]


@dataclass(slots=True)
class Outcome:
    """What became of one step."""

    name: str
    what: str
    command: str
    expected_s: float
    status: Status = "not reached"
    seconds: float | None = None
    message: str = ""
    """Why it failed or was skipped; empty where it passed."""


@dataclass(slots=True, kw_only=True)
class Record:
    """Everything that the page is made of."""

    started: str
    """ISO 8601, UTC."""
    minutes: float
    """That were allowed."""
    rehearsal: bool
    """On a CPU: times mean nothing."""
    commit: str
    driver: str
    """Of the GPU; empty where there is none, or it does not tell."""
    machine: Machine
    steps: list[Outcome]
    tables: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)
    """Rows by title, from what the steps wrote."""
    hashes: dict[str, str] = field(default_factory=dict)
    """SHA-256 of the graphs and engines that were proven."""

    @property
    def failed(self) -> bool:
        """Whether a step failed."""
        return any(step.status == "failed" for step in self.steps)

    def write(self, folder: Path) -> Path:
        """Write `result.json` into `folder`, in place of the one before."""
        document = {"format": FORMAT, "schema": SCHEMA, **asdict(self)}
        path = folder / RESULT
        with write_beside(path, force=True) as temporary:
            temporary.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        return path


def outcomes(steps: Sequence[Step], shown: Mapping[str, str]) -> list[Outcome]:
    """Nothing is reached yet. `shown` are places of this machine and what stands for them."""
    return [
        Outcome(step.name, step.what, without(" ".join(step.command), shown), step.expected_s)
        for step in steps
    ]


def without(text: str, shown: Mapping[str, str]) -> str:
    """`text` with what stands for each place instead of the place."""
    for place, word in shown.items():
        text = text.replace(place, word)
    return text


def read_record(folder: Path) -> dict[str, Any]:
    """What `Record.write` wrote into `folder`.

    Raises:
        DocumentError: there is none, or it is of another format.
    """
    path = folder / RESULT
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise DocumentError(
            f"{path} cannot be read: {why}. Name a folder that `make gpu` wrote."
        ) from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise DocumentError(f"{path} is not a result of `make gpu`. Name a folder that it wrote.")
    if document.get("schema") != SCHEMA:
        raise DocumentError(
            f"{path} is of schema {document.get('schema')}, and this checkout reads {SCHEMA}."
        )
    return document
