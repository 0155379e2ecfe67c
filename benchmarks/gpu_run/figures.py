"""Rows of tables, from the files that steps wrote."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from engine_trials.result import rows_of

from gpu_run.places import Places
from gpu_run.record import Record, without
from vidtok_edge.errors import DocumentError, ProofError
from vidtok_edge.runtime.bench.candidate_result import CandidateResult
from vidtok_edge.runtime.bench.ceilings import Ceilings
from vidtok_edge.runtime.bench.document_file import read_document
from vidtok_edge.runtime.bench.figures import Breakdown
from vidtok_edge.runtime.proofs import PROOFS, PartFigures, Proof, read_proof

__all__ = ["collect", "roofline"]

Row = dict[str, Any]
CHECKED = ("what", "kind", "form", "precision", "call_ms", "compute_ms", "equal_tokens",
           "max_difference", "cuda_graph", "failed", "left_out")  # fmt: skip


def collect(record: Record, places: Places) -> None:
    """Put everything that lies there by now into `record`; what cannot be read is left out."""
    proofs = _proofs(places.bundle / PROOFS)
    found = sorted((places.output / "steps").glob("*.json"))
    ceilings = _ceilings(places.found("ceilings"))
    record.tables = {
        "Ceilings": [] if ceilings is None else [asdict(ceilings)],
        "Proofs": [row for proof in proofs for row in _proof_rows(proof)],
        "Speed": [row for path in found for row in _speed_rows(path, proofs, ceilings)],
        "Frames on the device": [row for path in found for row in _frame_rows(path)],
        "Copies inside the CUDA graph": [row for path in found for row in _copy_rows(path)],
        "The original and the forms in PyTorch": [r for path in found for r in _check_rows(path)],
        "Trials of forms": [r for path in found for r in _trial_rows(path, places)],
        "Full width in TensorRT": [row for path in found for row in _layer_rows(path)],
    }
    record.hashes = {}
    for proof in proofs:
        for part in (proof.encoder, proof.decoder):
            record.hashes[f"{part.graph.name}.onnx"] = part.graph.onnx_sha256
            record.hashes[f"{part.graph.name}.onnx.data"] = part.graph.data_sha256
            if part.graph.engine_sha256:
                engine = f"{part.graph.name}, engine of {proof.backend} for {proof.device.short}"
                record.hashes[engine] = part.graph.engine_sha256


def _proofs(folder: Path) -> list[Proof]:
    proofs = []
    for path in sorted(folder.glob("*.json")):
        try:
            proofs.append(read_proof(path))
        except ProofError:  # a step that was stopped while it wrote; the step says so
            continue
    return proofs


def _proof_rows(proof: Proof) -> list[Row]:
    return [
        {
            "backend": proof.backend,
            "library": proof.library,
            "precision": proof.precision,
            "graph": part.kind,
            "verdict": proof.verdict,
            "tokens equal": part.value if part.metric == "tokens" else None,
            "pictures, dB": part.value if part.metric == "dB" else None,
            "limit": part.limit,
            "memory": part.graph.memory,
            "p50 ms": part.p50_ms,
            "p99 ms": part.p99_ms,
        }
        for part in (proof.encoder, proof.decoder)
    ]


def _speed_rows(path: Path, proofs: Sequence[Proof], ceilings: Ceilings | None) -> list[Row]:
    try:
        document = read_document(path)
    except DocumentError:  # of another kind
        return []
    return [
        {
            "step": path.stem,
            "backend": one.figures.backend,
            "precision": one.precision,
            "encoder ms": _call_ms(one.figures.encoder),
            "decoder ms": _call_ms(one.figures.decoder),
            "latency p50 ms": one.figures.latency.p50_ms,
            "latency p99 ms": one.figures.latency.p99_ms,
            "frames/s": one.figures.frames_per_s,
            "keeps up": one.figures.keeps_up if document.settings.pace.fps else None,
            **_quality(one, proofs),
            **roofline(one, ceilings),
            "GPU W": one.figures.gpu_w,
        }
        for one in document.candidates
    ]


def roofline(one: CandidateResult, ceilings: Ceilings | None) -> Row:
    """Work of a call of the encoder, and its least time as a share of the one measured; empty where
    nobody counted it."""
    work = next((work for work in one.work if work.kind == "encoder"), None)
    taken = _call_ms(one.figures.encoder)
    if work is None or taken is None:
        return {}
    return {
        "encoder Gop": work.operations / 1e9,
        "encoder MB": work.moved_bytes / 1e6,
        "of the roofline": work.roofline_share(ceilings, one.precision, taken),
    }


def _ceilings(path: Path) -> Ceilings | None:
    found = _json(path).get("ceilings")
    return Ceilings(**found) if isinstance(found, dict) else None


def _call_ms(breakdown: Breakdown | None) -> float | None:
    return None if breakdown is None else breakdown.compute_ms


def _quality(one: CandidateResult, proofs: Sequence[Proof]) -> Row:
    """What the proof that it ran under found, or one of the same backend and precision: against
    the reference. Nothing of PyTorch, which nobody proves."""
    if one.proven is not None:
        return {"tokens equal": one.proven.tokens_equal, "pictures, dB": one.proven.pictures_db}
    for proof in proofs:
        if proof.precision == one.precision and one.backend == proof.backend:
            return {
                "tokens equal": _value(proof.encoder, "tokens"),
                "pictures, dB": _value(proof.decoder, "dB"),
            }
    return {"tokens equal": None, "pictures, dB": None}


def _value(part: PartFigures, metric: str) -> float | None:
    return part.value if part.metric == metric else None


def _frame_rows(path: Path) -> list[Row]:
    found = _json(path).get("device_frames")
    if not isinstance(found, dict):
        return []
    same = {"backend": found["backend"], "precision": found["precision"], "equal": found["equal"]}
    return [same | speed for speed in found["speeds"]]


def _copy_rows(path: Path) -> list[Row]:
    found = _json(path).get("captured_copies")
    return [found] if isinstance(found, dict) else []


def _check_rows(path: Path) -> list[Row]:
    document = _json(path)
    results = document.get("results")
    if not isinstance(results, list):
        return []
    return [
        {"model": document.get("model"), **{key: row.get(key) for key in CHECKED}}
        for row in results
    ]


def _trial_rows(path: Path, places: Places) -> list[Row]:
    """What TensorRT says of a graph names its file."""
    rows = rows_of(_json(path))
    return [row | {"why not": without(row["why not"], places.shown)} for row in rows]


def _layer_rows(path: Path) -> list[Row]:
    document = _json(path)
    if "median_ms" not in document:
        return []
    layers = document.get("layers", [])
    return [{"step": path.stem, "CUDA graph ms": document["median_ms"], "layers": len(layers)}]


def _json(path: Path) -> Mapping[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # cut off
        return {}
    return document if isinstance(document, dict) else {}
