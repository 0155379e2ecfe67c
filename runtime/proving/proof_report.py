"""All proofs of a bundle on one page, in Markdown, and in one JSON."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vidtok_edge.errors import BundleFileMissing, ProofError
from vidtok_edge.runtime.files import write_beside
from vidtok_edge.runtime.manifest.documents import write_document
from vidtok_edge.runtime.manifest.plain import to_plain
from vidtok_edge.runtime.proofs import PROOFS, PartFigures, Proof, prove_command, read_proof

__all__ = ["Collected", "collect", "page_of", "write_report"]

REPORT = "report"
"""Name of both files in the folder of the proofs."""
_MOST = 1000


@dataclass(frozen=True, slots=True)
class Collected:
    """The proofs of a bundle."""

    proofs: tuple[Proof, ...]
    """By name."""
    damaged: tuple[str, ...]
    """What was said of files that are no proofs."""


def collect(bundle: Path) -> Collected:
    """Read all proofs in the folder of a bundle.

    Raises BundleFileMissing: there is none.
    """
    found, damaged = [], []
    for path in sorted((bundle / PROOFS).glob("*.*.*.json"))[:_MOST]:
        try:
            found.append(read_proof(path))
        except ProofError as error:
            damaged.append(str(error))
    if not found and not damaged:
        raise BundleFileMissing(
            f"{bundle / PROOFS} holds no proof. Make one with: {prove_command(bundle)}"
        )
    return Collected(tuple(found), tuple(damaged))


def write_report(bundle: Path) -> tuple[Path, Path]:
    """Write `proof/report.md` and `proof/report.json` into a bundle; gives both paths.

    Raises BundleFileMissing: there is no proof; OutputNotWritable.
    """
    collected = collect(bundle)
    page, document = (bundle / PROOFS / f"{REPORT}.{end}" for end in ("md", "json"))
    with write_beside(page, force=True) as temporary:
        temporary.write_text(page_of(bundle.name, collected), encoding="utf-8")
    proofs = [to_plain(proof) for proof in collected.proofs]
    write_document(document, {"proofs": proofs, "damaged": list(collected.damaged)})
    return page, document


def page_of(name: str, collected: Collected) -> str:
    """The page, in Markdown."""
    lines = [f"# Proofs of {_cell(name)}", ""]
    head = ("proof", "verdict", "device", "library", "tokens or dB", "pictures", "p50 enc / dec")
    lines += [_row(head), _row(["---"] * len(head))]
    lines += [_row(_cells(proof)) for proof in collected.proofs]
    for proof in collected.proofs:
        lines += ["", f"## {_cell(proof.name)}", ""]
        lines += [f"- {_cell(difference.text)}" for difference in proof.differences]
        lines += [f"- {_told(part)}" for part in (proof.encoder, proof.decoder)]
        facts = {
            **{"made": proof.made, "toolkit": proof.toolkit, "driver": proof.driver or "not told"},
            **proof.machine,
            **{name: f"{value:g}" for name, value in proof.readings.items()},
        }
        lines += [f"- {_cell(key)}: {_cell(value)}" for key, value in facts.items()]
    if collected.damaged:
        lines += ["", "## Not read", "", *(f"- {_cell(text)}" for text in collected.damaged)]
    return "\n".join(lines) + "\n"


def _cells(proof: Proof) -> tuple[str, ...]:
    return (
        proof.name,
        proof.verdict,
        proof.device.name,
        proof.library,
        _value(proof.encoder),
        _value(proof.decoder),
        f"{proof.encoder.p50_ms:.2f} / {proof.decoder.p50_ms:.2f} ms",
    )


def _value(part: PartFigures) -> str:
    if part.metric == "tokens":
        return f"{part.value:.2%}, at least {part.limit:.2%}"
    return f"{part.value:.1f} dB, at least {part.limit:.1f}"


def _told(part: PartFigures) -> str:
    slots = {None: "one slot", True: "slots alike", False: "slots differ"}[part.slots_equal]
    runs = "a second run alike" if part.runs_equal else "a second run differs"
    return (
        f"{part.kind} {_cell(part.graph.name)} ({part.graph.onnx_sha256[:12]}): "
        f"{_cell(part.covered)}, {_value(part)}, {part.bit_equal} of {part.items} bit for bit, "
        f"{runs}, {slots}, p99 {part.p99_ms:.2f} ms"
        + (f", {_cell(told)}" if (told := part.graph.memory_told) else "")
    )


def _row(cells: list[str] | tuple[str, ...]) -> str:
    return f"| {' | '.join(map(_cell, cells))} |"


def _cell(text: str) -> str:
    """In one line, with what Markdown and HTML would read written out."""
    plain = " ".join(text.split())
    for letter, written in (("&", "&amp;"), ("<", "&lt;"), ("|", "&#124;"), ("`", "&#96;")):
        plain = plain.replace(letter, written)
    return plain
