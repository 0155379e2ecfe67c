"""The page of a run, from its JSON alone."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["PAGE", "page_of", "table_of"]

PAGE = "README.md"
WIDTH = 160
_UNKNOWN = "not told"


def page_of(document: Mapping[str, Any]) -> str:
    """Markdown of what `Record.write` wrote."""
    machine = document["machine"]
    device = device_name(machine)
    parts = [f"# {'Rehearsal on ' if document['rehearsal'] else ''}{device}"]
    if document["rehearsal"]:
        parts.append("**A rehearsal on a CPU: the times mean nothing.**")
    parts.append(table_of(_facts(document)))
    parts += ["## Steps", _verdict(document["steps"]), table_of(_step_rows(document["steps"]))]
    if messages := _messages(document["steps"]):
        parts += ["## What failed", messages]
    for title, rows in document["tables"].items():
        parts += [f"## {title}", table_of(rows) if rows else "Not measured: no step gave figures."]
    if document["hashes"]:
        rows = [{"file": name, "SHA-256": digest} for name, digest in document["hashes"].items()]
        parts += ["## Hashes", table_of(rows)]
    return "\n\n".join(parts) + "\n"


def device_name(machine: Mapping[str, Any]) -> str:
    """The board, the GPU or the CPU."""
    gpu = str(machine["gpu"]).partition(",")[0]
    return str(machine["board"] or gpu or machine["cpu"] or "an unknown machine")


def table_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table; the titles are the keys of the first row that any row has a value for."""
    titles = [title for title in rows[0] if any(row.get(title) not in (None, "") for row in rows)]
    lines = ["| " + " | ".join(titles) + " |", "|" + " --- |" * len(titles)]
    lines += ["| " + " | ".join(_cell(row.get(title)) for title in titles) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return " ".join(str(value).split()).replace("|", "\\|")


def _facts(document: Mapping[str, Any]) -> list[dict[str, str]]:
    machine = document["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    facts = {
        "started": document["started"],
        "commit": document["commit"],
        "GPU": machine["gpu"],
        "driver": document["driver"],
        "board": " ".join(filter(None, (machine["board"], machine["l4t"]))),
        "power mode": machine["power_mode"],
        "CPU": f"{machine['cpu']}, {machine['cores']} cores",
        "system": machine["system"],
        "Python": machine["python"],
        "packages": packages,
        "time allowed": f"{document['minutes']:g} minutes",
    }
    return [{"fact": name, "value": value or _UNKNOWN} for name, value in facts.items()]


def _verdict(steps: Sequence[Mapping[str, Any]]) -> str:
    counts = {status: 0 for status in ("passed", "failed", "skipped", "not reached")}
    for step in steps:
        counts[step["status"]] += 1
    text = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    return f"{text}. What was skipped or not reached was not run; nothing is known of it here."


def _step_rows(steps: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "step": step["name"],
            "what": step["what"],
            "status": step["status"],
            "s": step["seconds"],
            "why not": "see below" if step["status"] == "failed" else step["message"],
        }
        for step in steps
    ]


def _messages(steps: Sequence[Mapping[str, Any]]) -> str:
    parts = []
    for step in steps:
        if step["status"] == "failed":
            lines = [f"`{step['name']}`: its command and the end of its log.", ""]
            for line in (step["command"], *step["message"].splitlines()):
                wrapped = textwrap.wrap(line, WIDTH) or [""]
                lines += [f"    {one}" for one in wrapped]
            parts.append("\n".join(lines))
    return "\n\n".join(parts)
