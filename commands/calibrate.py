"""`calibrate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from vidtok_edge.commands.options import PathName, checkpoint_option
from vidtok_edge.commands.printing import (
    frame_bar,
    need,
    print_columns,
    print_report,
    require_passed,
    stage,
)
from vidtok_edge.commands.terminal import say

if TYPE_CHECKING:
    from vidtok_edge.calib.clips import ClipList
    from vidtok_edge.calib.policy import Level
    from vidtok_edge.export.recalibration import (
        Recalibrated,
        RecalibrationPlan,
        RecalibrationRequest,
        Sensitivity,
    )

_LAYERS_SHOWN = 15


@click.command()
@click.argument("bundle", type=PathName())
@click.option(
    "--data",
    type=PathName(),
    metavar="CLIPS",
    help="Folder of clips, .txt that lists them, or one clip.  [default: two that ship]",
)
@click.option(
    "--frames",
    type=click.IntRange(min=1),
    default=33,
    show_default=True,
    metavar="N",
    help="At most, of each clip.",
)
@click.option(
    "--method",
    type=click.Choice(["mse", "minmax", "percentile", "entropy"]),
    default="mse",
    show_default=True,
    help="How a range is chosen from what was seen.",
)
@click.option("--percentile", type=float, metavar="P", help="Of that method.  [default: 99.99]")
@click.option(
    "--policy",
    multiple=True,
    metavar="PATTERN=LEVEL",
    help="Layers at float, cache or int8, as decoder.mid.*=float; the last that fits decides.",
)
@click.option(
    "--budget-db",
    type=float,
    metavar="D",
    help="Take layers back to float until the PSNR lost against the source is at most D.",
)
@click.option(
    "--budget-tokens",
    type=float,
    metavar="S",
    help="The same until a share of S of the tokens equals those of fp32.",
)
@click.option("--sensitivity", is_flag=True, help="Measure every layer also without a budget.")
@checkpoint_option
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
def calibrate(
    bundle: Path,
    data: Path | None,
    frames: int | None,
    method: Literal["mse", "minmax", "percentile", "entropy"],
    percentile: float | None,
    policy: tuple[str, ...],
    budget_db: float | None,
    budget_tokens: float | None,
    sensitivity: bool,
    checkpoint: str | None,
    dry_run: bool,
) -> None:
    """INT8 graphs from live streams: ranges, which layers run in INT8, and what that costs."""
    need("export")
    from vidtok_edge.calib.budget import Budget
    from vidtok_edge.calib.calibration import CalibrationRequest
    from vidtok_edge.calib.policy import Rule
    from vidtok_edge.export.recalibration import (
        RecalibrationRequest,
        plan_recalibration,
        recalibrate,
    )
    from vidtok_edge.runtime import Bundle

    if percentile is not None and method != "percentile":
        raise click.BadParameter("goes with --method percentile only", param_hint="--percentile")
    request = RecalibrationRequest(
        CalibrationRequest(data, frames, method, 99.99 if percentile is None else percentile),
        tuple(map(Rule.parse, policy)),
        Budget(budget_db, budget_tokens),
        sensitivity,
        checkpoint,
    )
    loaded = Bundle.load(bundle, check_hashes=True)
    if dry_run:
        _print_calibration_plan(plan_recalibration(loaded, request), request)
        return
    done = recalibrate(loaded, request, stage, frame_bar)
    _print_recalibrated(done)
    for report in (done.report, *done.other_reports):
        print_report(report)
        require_passed(report, f"{bundle} has new INT8 graphs and is marked unverified")


def _print_calibration_plan(plan: RecalibrationPlan, request: RecalibrationRequest) -> None:
    stored = plan.calibration.stored is not None
    _print_calibration(plan.calibration.clips, stored, plan.calibration.notes, "would be ")
    _print_mix(plan.levels, plan.work_int8_share)
    if request.budget:
        say(f"layers would go back to float until there is {request.budget}")
    say("would write the INT8 graphs for ONNX Runtime and TensorRT, and verify them")


def _print_calibration(clips: ClipList, reused: bool, notes: Sequence[str], would: str) -> None:
    for note in notes:
        say(f"note: {note}", fg="yellow", err=True)
    frames = sum(clip.frames for clip in clips.used)
    names = ", ".join(clip.name for clip in clips.used[:3]) + (", ..." if len(clips) > 3 else "")
    what = "reused: nothing changed since they were stored" if reused else "calibrated"
    say(f"ranges   {would}{what}; {frames} frames of {len(clips)} clip(s): {names}")


def _print_mix(levels: Mapping[str, Level], share: float) -> None:
    counts = {level: list(levels.values()).count(level) for level in ("int8", "cache", "float")}
    say(
        f"policy   {counts['int8']} layers in INT8, {share:.1%} of the work; {counts['cache']} "
        f"with INT8 caches alone, {counts['float']} in float"
    )


def _print_recalibrated(done: Recalibrated) -> None:
    say()
    _print_calibration(done.calibration.clips, done.calibration.reused, done.calibration.notes, "")
    if done.sensitivity:
        _print_sensitivity(done.sensitivity)
    _print_mix(done.levels, done.work_int8_share)
    say(f"         {done.policy}")


def _print_sensitivity(found: Sensitivity) -> None:
    say(f"\neach layer alone, on {found.frames} frames of {found.clip}; the worst first")
    table = [("layer", "level", "work", "tokens equal", "PSNR dB to fp32", "loss dB")]
    for damage in found.damages[:_LAYERS_SHOWN]:
        equal = "-" if damage.tokens_equal is None else f"{damage.tokens_equal:.1%}"
        table.append(
            (
                damage.layer,
                damage.level,
                f"{damage.work_share:.2%}",
                equal,
                f"{damage.psnr_db:.2f}",
                f"{damage.loss_db:+.3f}",
            )
        )
    print_columns(table)
    rest = len(found.damages) - _LAYERS_SHOWN
    say(f"{f'and {rest} more, ' if rest > 0 else ''}all in {found.report}\n")
    say("mixes    each measured whole, the worse figures of both placements")
    for point in found.points:
        say(f"  {'>' if point == found.chosen else ' '}      {point}")
    say(f"         {found.picture}\n")
