"""Does TensorRT accept every graph? Builds them all with TensorRT-RTX, for which no GPU is needed.

    python benchmarks/engines.py --only embedded --gpu sm86

`narrow`: the 17 causal variants with an eighth of their channels, 32x32. `embedded`: the shipped
model at 256x256. `full`: one variant at full width, 256x256, with random weights.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args

import click
from report import begin

from vidtok_edge.calib.calibration import CalibrationRequest, calibrate
from vidtok_edge.calib.int8 import int8_graphs
from vidtok_edge.calib.policy import DEFAULT_POLICY
from vidtok_edge.errors import CheckFailed, EngineRefused
from vidtok_edge.export.bundle_files import write_graphs
from vidtok_edge.lowering.facts import BOTH_FP16, BOTH_FP32
from vidtok_edge.lowering.step import StepOptions
from vidtok_edge.runtime.backends.backend import Target
from vidtok_edge.runtime.backends.engines.building.build import (
    BuildRequest,
    EnginePlan,
    PlannedEngine,
    build_engines,
    plan_engines,
)
from vidtok_edge.runtime.manifest.graphs import Precision
from vidtok_edge.variants import EMBEDDED, VARIANTS
from vidtok_edge.vidtok_ref import VidTok, load_weights
from vidtok_edge.vidtok_ref.weights import model_from_state, random_state

PARTS = ("narrow", "embedded", "full")
GPUS = ("sm75", "sm80", "sm86", "sm89", "sm120")
FULL = "vidtok_fsq_causal_488_32768"
NARROW = 16
"""Channels of the first level; the published models have 128."""
TITLES = {
    "narrow": "narrow copies of causal variants, 32x32",
    "embedded": "embedded tokenizer, 256x256",
    "full": "a full-width model, 256x256",
}
_NO_HASH = "0" * 64


@dataclass(frozen=True)
class Attempt:
    """One engine: what came of it."""

    part: str
    model: str
    graph: str
    gpu: str
    seconds: float
    megabytes: float
    proof: str
    refused: str
    """Why it was not built; empty where it was."""


@click.command(help=__doc__)
@click.option("--only", default=",".join(PARTS), show_default=True, metavar="PARTS")
@click.option("--variant", "variants", multiple=True, help="Of `narrow`; all where none is given.")
@click.option("--precision", default="fp32,fp16,int8", show_default=True)
@click.option("--gpu", default=",".join(GPUS), show_default=True)
@click.option("--json", "json_path", type=click.Path(path_type=Path))
def main(
    only: str, variants: Sequence[str], precision: str, gpu: str, json_path: Path | None
) -> None:
    precisions = [p for p in get_args(Precision) if p in precision.split(",")]
    report = begin("engines", f"`benchmarks/engines.py`, {', '.join(precisions)}, for {gpu}")
    attempts: list[Attempt] = []
    for given in models(only.split(","), variants):
        with tempfile.TemporaryDirectory(prefix="engines_") as folder:
            write_bundle(given, Path(folder), precisions)
            for attempt in build_all(given, Path(folder), precisions, gpu.split(",")):
                click.echo(line_of(attempt))
                attempts.append(attempt)
    refused = [attempt for attempt in attempts if attempt.refused]
    click.echo(f"{len(attempts) - len(refused)} of {len(attempts)} engines built")
    report.tables["engines"] = rows_of(attempts)
    report.raw["attempts"] = [asdict(attempt) for attempt in attempts]
    report.show()
    report.write(json_path)
    sys.exit(1 if any(unexpected(attempt) for attempt in refused) else 0)


def rows_of(attempts: Sequence[Attempt]) -> list[Mapping[str, Any]]:
    """How many engines of each part were built, and which graphs were refused where."""
    rows = list[Mapping[str, Any]]()
    for part in dict.fromkeys(attempt.part for attempt in attempts):
        mine = [attempt for attempt in attempts if attempt.part == part]
        refused = [attempt for attempt in mine if attempt.refused]
        where = {f"{attempt.graph.rpartition('.')[2]} on {attempt.gpu}" for attempt in refused}
        rows.append(
            {
                "models": TITLES[part],
                "built": len(mine) - len(refused),
                "asked": len(mine),
                "refused": ", ".join(sorted(where)) or "none",
            }
        )
    return rows


def unexpected(attempt: Attempt) -> bool:
    """TensorRT-RTX multiplies no float32 matrices on Turing; everything else must build."""
    return not (attempt.gpu == "sm75" and attempt.graph.endswith(".fp32"))


@dataclass(frozen=True)
class Given:
    """A model whose graphs are built."""

    part: str
    name: str
    model: VidTok
    size: int
    frames: int
    """To calibrate on."""


def models(parts: Sequence[str], variants: Sequence[str]) -> Iterator[Given]:
    """Those of `parts`, one after the other."""
    if "narrow" in parts:
        for variant in VARIANTS.values():
            if (
                variant.causal
                and variant is not EMBEDDED
                and variant.name in (variants or (variant.name,))
            ):
                small = replace(variant, ch=NARROW)
                model = model_from_state(small, random_state(small, seed=0))
                yield Given("narrow", variant.name, model, 32, 2 * variant.time_factor + 1)
    if "embedded" in parts:
        yield Given("embedded", "embedded", load_weights("fsq", None)[0], 256, 9)
    if "full" in parts:
        yield Given("full", FULL, load_weights(FULL, "random")[0], 256, 4)


def write_bundle(given: Given, folder: Path, precisions: Sequence[Precision]) -> None:
    options = StepOptions(given.size, given.size, form="conv2d")
    numerics = [BOTH_FP32] * ("fp32" in precisions) + [BOTH_FP16] * ("fp16" in precisions)
    if "int8" in precisions:
        request = CalibrationRequest(frames=given.frames, method="minmax")
        ranges = calibrate(given.model, options, _NO_HASH, folder, request).ranges
        numerics.append(int8_graphs(ranges, DEFAULT_POLICY)[1])
    write_graphs(given.model, options, folder, numerics=numerics)


def build_all(
    given: Given, folder: Path, precisions: Sequence[Precision], gpus: Sequence[str]
) -> Iterator[Attempt]:
    request = BuildRequest(folder, Target.TENSORRT_RTX, tuple(precisions), tuple(gpus))
    plan = plan_engines(request)
    for engine in plan.engines:
        yield build_one(given, plan, engine)
        engine.path.unlink(missing_ok=True)


def build_one(given: Given, plan: EnginePlan, engine: PlannedEngine) -> Attempt:
    start = time.perf_counter()
    seconds, megabytes, proof, refused = 0.0, 0.0, "", ""
    try:
        [built] = build_engines(replace(plan, engines=(engine,)))
    except (EngineRefused, CheckFailed) as error:
        seconds, refused = time.perf_counter() - start, str(error)[:300]
    else:
        sidecar = built.sidecar
        seconds, proof = sidecar.build_seconds, str(sidecar.proof)
        megabytes = sidecar.engine_bytes / 1e6
    return Attempt(
        part=given.part,
        model=given.name,
        graph=engine.graph.name,
        gpu=engine.host.gpu,
        seconds=seconds,
        megabytes=megabytes,
        proof=proof,
        refused=refused,
    )


def line_of(attempt: Attempt) -> str:
    what = attempt.proof or f"REFUSED: {attempt.refused}"
    head = f"{attempt.model:<36} {attempt.graph:<24} {attempt.gpu:<6}"
    return f"{head} {attempt.seconds:6.1f} s {attempt.megabytes:7.1f} MB  {what}"


if __name__ == "__main__":
    main()
