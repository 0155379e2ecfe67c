"""New INT8 graphs for a bundle: calibrated, mixed within a budget, written, verified."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.calib.budget import Budget, Mixes, MixPoint, measure_quarters, within_budget
from vidtok_edge.calib.calibration import (
    Calibration,
    CalibrationPlan,
    CalibrationRequest,
    calibrate,
    plan_calibration,
)
from vidtok_edge.calib.clips import Clip, ClipList
from vidtok_edge.calib.int8 import calibration_options, int8_graphs
from vidtok_edge.calib.mix import MixMeter, Work
from vidtok_edge.calib.plot import plot_mixes
from vidtok_edge.calib.policy import DEFAULT_POLICY, Level, Policy, Rule
from vidtok_edge.calib.sensitivity import LATENTS, LayerDamage, damages
from vidtok_edge.calib.sensitivity_report import write_report
from vidtok_edge.errors import OutputNotWritable, UsageError
from vidtok_edge.export.bundle_files import write_graphs, write_manifest
from vidtok_edge.export.bundle_verify import reference_of, verify_written
from vidtok_edge.export.golden_stream import make_golden
from vidtok_edge.export.verifying.loss import DEFAULT_LIMITS, Limits
from vidtok_edge.export.verifying.report import ParityReport
from vidtok_edge.lowering.facts import options_of, variant_of
from vidtok_edge.lowering.numerics import Numerics
from vidtok_edge.lowering.step import Kind, StepOptions
from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.files import replace_file
from vidtok_edge.runtime.folders import write_folder_beside
from vidtok_edge.runtime.manifest.graphs import Placement, Precision
from vidtok_edge.runtime.manifest.manifest import Manifest
from vidtok_edge.runtime.progress import Bar, Stage, no_bar, no_stage
from vidtok_edge.runtime.streaming.framing import Framing
from vidtok_edge.variants import Variant
from vidtok_edge.vidtok_ref import VidTok

__all__ = [
    "Recalibrated",
    "RecalibrationPlan",
    "RecalibrationRequest",
    "Sensitivity",
    "plan_recalibration",
    "recalibrate",
]

_NEW = "int8.new"
"""The folder inside a bundle where new graphs wait until all of them are there."""


@dataclass(frozen=True, slots=True)
class RecalibrationRequest:
    """How to calibrate a bundle, and which layers to run in INT8.

    Attributes:
        calibration: data and method.
        rules: which follow those of the default policy, and so win.
        budget: what the mix may cost; layers go back to float until it holds.
        sensitivity: measure each layer, and mixes, where no budget asks for it.
        checkpoint: the file the bundle's weights came from, where they came from one.
    """

    calibration: CalibrationRequest = field(default_factory=CalibrationRequest)
    rules: tuple[Rule, ...] = ()
    budget: Budget = field(default_factory=Budget)
    sensitivity: bool = False
    checkpoint: str | None = None

    @property
    def policy(self) -> Policy:
        """The most INT8 that is wanted."""
        return DEFAULT_POLICY.with_rules(self.rules)


@dataclass(frozen=True, slots=True)
class RecalibrationPlan:
    """What a recalibration would do; with a budget, layers may still go back to float."""

    calibration: CalibrationPlan
    levels: Mapping[str, Level]
    work_int8_share: float
    """Of the multiply-adds of both graphs, 0 to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensitivity:
    """What layers and mixes cost, on the first frames of the first clip.

    Attributes:
        clip: its name.
        frames: how many of it.
        damages: of each layer alone, the worst picture first.
        points: mixes that were measured.
        chosen: the one that the new graphs have.
        report, picture: where all of it lies.
    """

    clip: str
    frames: int
    damages: tuple[LayerDamage, ...]
    points: tuple[MixPoint, ...]
    chosen: MixPoint
    report: Path
    picture: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalibrated:
    """A bundle with new INT8 graphs, and whether they hold their limits."""

    bundle: Bundle
    calibration: Calibration
    levels: Mapping[str, Level]
    work_int8_share: float
    """Of the multiply-adds of both graphs, 0 to 1."""
    policy: Path
    sensitivity: Sensitivity | None
    report: ParityReport
    other_reports: tuple[ParityReport, ...] = ()
    """Of the same graphs in other forms."""


def plan_recalibration(bundle: Bundle, request: RecalibrationRequest) -> RecalibrationPlan:
    """What `recalibrate` would do; reads the clips, loads no weights and writes nothing."""
    manifest = bundle.manifest
    variant = variant_of(manifest)
    options = calibration_options(options_of(manifest))
    levels = _levels(variant, options, request)
    plan = plan_calibration(
        variant, options, manifest.weights.sha256, bundle.path, request.calibration
    )
    return RecalibrationPlan(plan, levels, Work(variant, options).int8_share(levels))


def recalibrate(
    bundle: Bundle, request: RecalibrationRequest, stage: Stage = no_stage, bar: Bar = no_bar
) -> Recalibrated:
    """Calibrate `bundle`, choose the layers, write the INT8 graphs of both placements, verify.

    Graphs of other precisions are kept as they are. Interrupted at any point, the bundle can be
    loaded: it has its old INT8 graphs, or none, or the new ones, not verified.

    Args:
        bundle: as loaded.
        request: data, method, policy and budget.
        stage: called around each stage that has no bar.
        bar: opens a bar for each stage that has one.

    Raises:
        UsageError: a rule matches no layer, a budget that cannot be, a checkpoint is not named.
        CalibrationError, CheckpointError: clips or weights that cannot be used.
        CheckFailed: the budget leaves nothing in INT8; the bundle stays as it is.
        OutputNotWritable: the bundle cannot be written.
    """
    manifest = bundle.manifest
    options = calibration_options(options_of(manifest))
    with stage("weights", None):
        model = reference_of(bundle, request.checkpoint)
    levels: Mapping[str, Level] = _levels(model.variant, options, request)
    with bar("calibrating") as progress:
        calibration = calibrate(
            model, options, manifest.weights.sha256, bundle.path, request.calibration, progress
        )
    policy, work = request.policy, Work(model.variant, options)
    sensitivity = None
    if request.budget or request.sensitivity:
        policy, levels, sensitivity = _measured(
            bundle, model, options, calibration, request, levels, bar
        )
    numerics = int8_graphs(calibration.ranges, policy)
    written = [_replace_graphs(bundle, model, numerics, stage)]
    for_engines = [pair for pair in numerics if pair["encoder"].placement == Placement.TENSORRT]
    for form in bundle.other_forms():
        written.append(_replace_graphs(form, model, for_engines, stage))
    saved = policy.save(bundle.path, levels)
    reports = []
    for form in written:
        with stage("verification", None):
            limits = _limits(request.budget)
            reports.append(verify_written(form, request.checkpoint, limits=limits))
    with stage("golden stream", None):  # what INT8 gives has changed
        make_golden(written[0], model).save(bundle.path)
    return Recalibrated(
        bundle=Bundle.load(bundle.path),
        calibration=calibration,
        levels=levels,
        work_int8_share=work.int8_share(levels),
        policy=saved,
        sensitivity=sensitivity,
        report=reports[0],
        other_reports=tuple(reports[1:]),
    )


def _levels(
    variant: Variant, options: StepOptions, request: RecalibrationRequest
) -> dict[str, Level]:
    """What the policy comes to; everything about `request` that can be wrong without clips is."""
    request.budget.check(variant.latent)
    layers = list(Work(variant, options).shares)
    request.policy.check(layers)
    levels = request.policy.levels(layers)
    if "int8" not in levels.values():
        raise UsageError(
            "The policy leaves no layer in INT8. Name fewer layers with --policy PATTERN=float, "
            "or use the fp32 or fp16 graphs."
        )
    return levels


def _measured(
    bundle: Bundle,
    model: VidTok,
    options: StepOptions,
    calibration: Calibration,
    request: RecalibrationRequest,
    levels: Mapping[str, Level],
    bar: Bar,
) -> tuple[Policy, Mapping[str, Level], Sensitivity]:
    """The policy and its levels within the budget, and what they were chosen by, stored."""
    clip, frames = _first_frames(bundle.manifest, calibration.clips)
    policy, budget, work = request.policy, request.budget, Work(model.variant, options)
    with bar("layers") as progress:
        meter = MixMeter(model, options, calibration.ranges, frames)
        found = damages(meter, work, levels, progress)
    with bar("mixes") as progress:
        mixes = Mixes(meter, work, policy, levels, progress)
        measure_quarters(mixes, found)
        chosen = mixes.without(())
        if budget:
            budgeted = within_budget(mixes, found, budget)
            policy, levels, chosen = budgeted.policy, budgeted.levels, budgeted.point
    points = mixes.points
    report = write_report(
        bundle.path,
        clip=clip.facts.name,
        frames=len(frames),
        fp32_psnr_db=meter.psnr_db,
        budget=budget,
        chosen=chosen,
        points=points,
        damages=found,
    )
    title = f"{model.variant.name}\n{clip.facts.name}, {len(frames)} frames of "
    title += f"{options.height}x{options.width}"
    picture = plot_mixes(bundle.path, title, points, chosen, budget)
    sensitivity = Sensitivity(
        clip=clip.facts.name,
        frames=len(frames),
        damages=found,
        points=points,
        chosen=chosen,
        report=report,
        picture=picture,
    )
    return policy, levels, sensitivity


def _first_frames(manifest: Manifest, clips: ClipList) -> tuple[Clip, NDArray[np.uint8]]:
    """The first clip and its first frames, [T, H, W, 3], of `LATENTS` rounded up to whole calls."""
    latents = -(-LATENTS // manifest.chunk) * manifest.chunk
    clip = clips.clips[0]
    frames = islice(clips.frames(clip), Framing.of(manifest.model).first_frame(latents))
    return clip, np.stack(list(frames))


def _limits(budget: Budget) -> Mapping[Precision, Limits]:
    """Those of a verification, widened where the budget allows more; its clips are others."""
    usual = DEFAULT_LIMITS["int8"]
    widest = max(usual.loss_db or 0.0, budget.loss_db or 0.0)
    return {**DEFAULT_LIMITS, "int8": replace(usual, loss_db=widest)}


def _replace_graphs(
    bundle: Bundle, model: VidTok, numerics: Sequence[Mapping[Kind, Numerics]], stage: Stage
) -> Bundle:
    """Write graphs aside; then, in moments: forget the old ones, move the files, name the new."""
    manifest = replace(bundle.manifest, verified=False, verified_with=())
    new = bundle.path / _NEW
    for left in bundle.path.glob(f".{_NEW}.*"):  # by a run that was killed
        shutil.rmtree(left, ignore_errors=True)
    with write_folder_beside(new, force=True) as folder:
        options = options_of(manifest)
        graphs = write_graphs(model, options, folder, manifest.weights, stage, numerics)
    by_name = {graph.name: graph for graph in graphs.manifest.graphs}
    kept = tuple(graph for graph in manifest.graphs if graph.name not in by_name)
    write_manifest(bundle.path, replace(manifest, graphs=kept))
    try:
        for graph in by_name.values():
            for file in (graph.data_file, graph.file):
                replace_file(new / file, bundle.path / file)
        shutil.rmtree(new)
    except OSError as error:
        raise OutputNotWritable(
            f"{error.filename} cannot be moved into {bundle.path}: {error.strerror}. The bundle is "
            "left without INT8 graphs: change its permissions and calibrate again."
        ) from error
    # In their old places: the first graph of a kind is what a runtime takes by default.
    merged = [by_name.pop(graph.name, graph) for graph in manifest.graphs]
    return write_manifest(bundle.path, replace(manifest, graphs=(*merged, *by_name.values())))
