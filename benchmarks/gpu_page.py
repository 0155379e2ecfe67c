"""The page of what `make gpu` found, from its JSON alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = ["page_of"]

Result = Mapping[str, Any]


def page_of(result: Result) -> str:
    """Markdown: what it ran on, every step with its outcome, and tables of what was measured."""
    machine = result["machine"]
    title = machine["GPU"] if machine["GPU"] != "not told" else machine["CPU"]
    lines = [f"# {title}", ""]
    if result["rehearsed"]:
        lines += ["**A rehearsal**: on the CPU and a fake GPU. Its times say nothing of a GPU.", ""]
    driver = result["driver"] or "none"
    lines += [f"{result['made']}, commit {result['commit']}, driver {driver}.", ""]
    lines += _table(["", ""], [[name, value] for name, value in machine.items()])
    lines += ["", "## Steps", "", *_table(["step", "", "s", "why"], _steps(result))]
    for heading, header, rows in _sections(result["found"]):
        if rows:
            lines += ["", f"## {heading}", "", *_table(header, rows)]
    for step in result["steps"]:
        if step["status"] in ("failed", "ended") and step["tail"]:
            lines += ["", f"## The end of {step['name']}", "", "```", *step["tail"], "```"]
    return "\n".join(lines) + "\n"


def _steps(result: Result) -> list[list[str]]:
    return [
        [step["name"], step["status"], f"{step['seconds']:.0f}", step["why"] or step["does"]]
        for step in result["steps"]
    ]


def _sections(found: Result) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    proofs = [it for name, it in found.items() if name.startswith("proof/") and "verdict" in it]
    header = ["backend", "precision", "half", "verdict", "equal", "at least", "p50 ms", "p99 ms"]
    yield "Proofs", header, [row for proof in proofs for row in _proof(proof)]
    bench = found.get("bench.json", {}).get("candidates", [])
    header = ["candidate", "on", "frames/s", "p50 ms", "p99 ms", "encoder ms", "decoder ms"]
    yield "Benchmark", header, [_candidate(row) for row in bench]
    checks = found.get("gpu_checks.json", {}).get("results", [])
    header = ["what", "ms a call", "of it computing", "tokens equal", "largest difference"]
    yield "PyTorch on the GPU, ours in TensorRT's place", header, [_check(row) for row in checks]
    layers = {name: it for name, it in found.items() if name.startswith("layers-")}
    header = ["full width, 256x256", "ms a call", "layers"]
    yield "Full width in TensorRT", header, [_layers(name, it) for name, it in layers.items()]
    broken = {name: it["unreadable"] for name, it in found.items() if "unreadable" in it}
    yield "What could not be read", ["file", "why"], [[name, why] for name, why in broken.items()]


def _proof(proof: Result) -> Iterator[list[str]]:
    for half in ("encoder", "decoder"):
        part = proof[half]
        tokens = part["metric"] == "tokens"
        shown = [
            f"{part[key]:.2%}" if tokens else f"{part[key]:.1f} dB" for key in ("value", "limit")
        ]
        times = [f"{part[key]:.2f}" for key in ("p50_ms", "p99_ms")]
        yield [proof["backend"], proof["precision"], half, proof["verdict"], *shown, *times]


def _candidate(row: Result) -> list[str]:
    figures = row["figures"]
    latency = figures["latency"]
    halves = [figures["encoder"], figures["decoder"]]
    return [
        row["name"],
        figures["backend"],
        f"{figures['frames_per_s']:.0f}",
        *(_number(latency.get(key)) for key in ("p50_ms", "p99_ms")),
        *(_number(None if half is None else half.get("compute_ms")) for half in halves),
    ]


def _check(row: Result) -> list[str]:
    measured = ("call_ms", "compute_ms", "equal_tokens", "max_difference", "failed", "left_out")
    facts = [str(value) for key, value in row.items() if key in _FACTS]
    said = row.get("failed") or row.get("left_out")
    if said:
        return [", ".join(facts), str(said), "", "", ""]
    return [", ".join(facts), *(_number(row.get(key)) for key in measured[:4])]


_FACTS = ("what", "kind", "precision", "form", "mode")


def _layers(name: str, found: Result) -> list[str]:
    kind = name.removeprefix("layers-").removesuffix(".json")
    return [kind, _number(found.get("median_ms")), str(found.get("layers", "-"))]


def _number(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, int | float) else "-"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    cells = [header, ["---"] * len(header), *rows]
    return [f"| {' | '.join(str(cell).replace('|', '/') for cell in row)} |" for row in cells]
