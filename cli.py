"""The command line: parses and prints; each command calls one function of the rooms.

What a command needs is imported inside it, so that `--help` is instant and works with no extra
installed.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from vidtok_edge import __version__
from vidtok_edge.errors import CheckFailed, MissingDependency, VidTokEdgeError

if TYPE_CHECKING:
    from vidtok_edge.calib.clips import ClipList
    from vidtok_edge.calib.policy import Level
    from vidtok_edge.calib.recalibration import (
        Recalibrated,
        RecalibrationPlan,
        RecalibrationRequest,
        Sensitivity,
    )
    from vidtok_edge.export import Exported, ExportPlan, ParityReport, StepOptions
    from vidtok_edge.runtime import Bundle
    from vidtok_edge.runtime.manifest import Manifest, Precision
    from vidtok_edge.runtime.transcode import Progress
    from vidtok_edge.vidtok_ref import VidTok

__all__ = ["export_main", "main"]

_LAYERS_SHOWN = 15
OFFICIAL = "For the official weights: --variant fsq --checkpoint hub (or --checkpoint PATH)"


class _Group(click.Group):
    """Turns an error of ours into one line and its exit code."""

    def invoke(self, context: click.Context) -> Any:
        return _reporting(lambda: super(_Group, self).invoke(context))


class _Command(click.Command):
    """The same for a command that is a program of its own."""

    def invoke(self, context: click.Context) -> Any:
        return _reporting(lambda: super(_Command, self).invoke(context))


def _reporting(call: Any) -> Any:
    try:
        return call()
    except VidTokEdgeError as error:
        click.secho(f"error: {error}", fg="red", err=True)
        sys.exit(error.exit_code)


class _Size(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic since click 8.4
    """HxW in pixels."""

    name = "HxW"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, int]:
        try:
            height, width = (int(part) for part in str(value).lower().split("x"))
        except ValueError:
            self.fail(f"{value!r} is not a size; write height x width in pixels, as 256x256")
        return height, width


def _list(context: click.Context, option: click.Parameter, value: str | None) -> tuple[str, ...]:
    return tuple(part for part in (value or "").replace(" ", "").split(",") if part)


def _precisions(context: click.Context, option: click.Parameter, value: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(_list(context, option, value)))
    if not names or set(names) - {"fp32", "fp16", "int8"}:
        raise click.BadParameter(f"{value!r}; allowed: fp32, fp16, int8, separated by commas")
    return names


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="vidtok-edge")
def main() -> None:
    """Streaming VidTok video tokenizers on the edge: export, run, measure.

    Exit codes: 0 done; 1 a check did not pass; 2 the command was wrong; 3 the input was bad;
    4 the environment lacks something.
    """


# --- export -----------------------------------------------------------------------------------


@main.command(cls=_Command, context_settings={"show_default": True})
@click.option("--variant", required=True, help="fsq, kl, or a full name; see `variants`.")
@click.option(
    "--checkpoint",
    metavar="PATH|hub|random",
    help="Weights; none: the small tokenizer that ships with the package, for --variant fsq.",
)
@click.option("--size", type=_Size(), default="256x256", help="Frame height x width in pixels.")
@click.option("--streams", default=1, metavar="B", help="Slots of the batch: how many cameras.")
@click.option(
    "--chunk",
    type=int,
    metavar="N",
    help="Latents per call.  [default: 1; non-causal: the whole window]",
)
@click.option(
    "--precision",
    callback=_precisions,
    default="fp32",
    metavar="fp32,fp16,int8",
    help="Which graphs; the first is what the runtime takes by default.",
)
@click.option(
    "--form",
    type=click.Choice(["conv2d", "conv3d"]),
    default="conv2d",
    help="Layout of the computation; neither has been measured on a GPU.",
)
@click.option(
    "--io",
    type=click.Choice(["uint8", "float"]),
    default="uint8",
    help="Frames as bytes, or as float32 in [-1, 1] for comparing numbers.",
)
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    help="Folder to write.  [default: vidtok-VARIANT]",
)
@click.option("--seed", default=0, help="Of --checkpoint random.")
@click.option("--force", is_flag=True, help="Replace a bundle that is there.")
@click.option("--dry-run", is_flag=True, help="Say what would be written, and write nothing.")
def export(
    variant: str,
    checkpoint: str | None,
    size: tuple[int, int],
    streams: int,
    chunk: int | None,
    precision: tuple[Precision, ...],
    form: Literal["conv2d", "conv3d"],
    io: Literal["uint8", "float"],
    output: Path | None,
    seed: int,
    force: bool,
    dry_run: bool,
) -> None:
    """Write a verified streaming bundle: step graphs, manifest, parity report."""
    _need_export()
    from vidtok_edge.export import ExportRequest, StepOptions, export_bundle, plan_export
    from vidtok_edge.vidtok_ref import EMBEDDED

    request = ExportRequest(variant, output or Path(f"vidtok-{variant}"), checkpoint,
                            precisions=precision, force=force, seed=seed)  # fmt: skip
    resolved = request.resolved
    latents = StepOptions.chunk_for(resolved) if chunk is None else chunk
    request = request.with_options(StepOptions(*size, streams, latents, form, io))
    click.echo(
        f"{resolved.name}, {size[0]}x{size[1]}, {streams} stream(s), {latents} latent(s) per call"
    )
    if resolved is EMBEDDED:
        click.secho(
            "This is the small tokenizer that ships with the package, for demos and tests.\n"
            f"{OFFICIAL}",
            fg="yellow",
        )
    click.echo(f"promise  {resolved.promise}")
    if dry_run:
        _print_plan(plan_export(request), request.output)
        return
    exported = export_bundle(request, _stage, _default_int8)
    _print_report(exported.report)
    _print_precisions(exported)
    click.echo(f"\n{_describe(exported.bundle.manifest)}\n{request.output}")
    _require_passed(exported.report, f"{request.output} was written and is marked unverified")


export_main = export
"""`vidtok-export`, the same command as a program of its own."""


@main.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--checkpoint", metavar="PATH", help="The file that the bundle's weights came from.")
@click.option(
    "--backend", default="auto", show_default=True, help="auto, cpu, cuda, tensorrt, tensorrt-rtx."
)
@click.option("--min-tokens", type=float, metavar="SHARE", help="FP16, INT8: least share of equal "
              "tokens.  [default: fp16 0.99, int8 none]")  # fmt: skip
@click.option("--min-psnr", type=float, metavar="DB", help="FP16, INT8: least PSNR against fp32.  "
              "[default: fp16 40, int8 none]")  # fmt: skip
@click.option("--max-loss-db", type=float, metavar="DB", help="FP16, INT8: most PSNR lost against "
              "the source.  [default: fp16 none, int8 0.5]")  # fmt: skip
def verify(
    bundle: Path, checkpoint: str | None, backend: str, min_tokens: float | None,
    min_psnr: float | None, max_loss_db: float | None,
) -> None:  # fmt: skip
    """Stream a bundle and compare it with the reference; exit 1 where a limit is passed."""
    _need_export()
    from vidtok_edge.export import verify_written
    from vidtok_edge.export.loss import limits_with
    from vidtok_edge.runtime import Bundle

    loaded = Bundle.load(bundle, check_hashes=True)
    click.echo(_describe(loaded.manifest))
    with _stage("verification", None):
        limits = limits_with(min_tokens, min_psnr, max_loss_db)
        report = verify_written(loaded, checkpoint, backend, limits)
    _print_report(report)
    _require_passed(report, f"{bundle} is marked unverified")


@main.command()
def variants() -> None:
    """List the published models and the one that ships with the package."""
    from vidtok_edge.vidtok_ref import EMBEDDED, SHORT_NAMES, VARIANTS

    short = {name: key for key, name in SHORT_NAMES.items()}
    rows = [("variant", "version", "latent", "T x H x W", "streaming", "")]
    for variant in VARIANTS.values():
        space = variant.space_factor
        latent = (
            f"FSQ {variant.codebook_size}"
            if variant.latent == "fsq"
            else f"KL {variant.z_channels}"
        )
        note = "ships with the package" if variant is EMBEDDED else short.get(variant.name, "")
        rows.append((
            variant.name,
            variant.version,
            latent,
            f"{variant.time_factor} x {space} x {space}",
            variant.promise.partition(":")[0],
            note,
        ))  # fmt: skip
    _print_columns(rows)


# --- calibration ------------------------------------------------------------------------------


@main.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="CLIPS",
    help="Folder of clips, .txt that lists them, or one clip.  [default: the clip that ships]",
)
@click.option(
    "--frames",
    type=click.IntRange(min=1),
    default=61,
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
@click.option("--budget-db", type=float, metavar="D", help="Take layers back to float until the "
              "PSNR lost against the source is at most D.")  # fmt: skip
@click.option("--budget-tokens", type=float, metavar="S", help="The same until a share of S of the "
              "tokens equals those of fp32.")  # fmt: skip
@click.option("--sensitivity", is_flag=True, help="Measure every layer also without a budget.")
@click.option("--checkpoint", metavar="PATH", help="The file that the bundle's weights came from.")
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
    _need_export()
    _need("This command", "export", ("matplotlib",))
    from vidtok_edge.calib.budget import Budget
    from vidtok_edge.calib.calibration import CalibrationRequest
    from vidtok_edge.calib.policy import Rule
    from vidtok_edge.calib.recalibration import (
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
    done = recalibrate(loaded, request, _stage, _frame_bar)
    _print_recalibrated(done)
    _print_report(done.report)
    _require_passed(done.report, f"{bundle} has new INT8 graphs and is marked unverified")


# --- engines ----------------------------------------------------------------------------------


@main.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--precision",
    callback=_list,
    metavar="fp16,int8",
    help="Of the graphs.  [default: all that the bundle has for TensorRT]",
)
@click.option(
    "--target",
    type=click.Choice(["tensorrt", "tensorrt-rtx"]),
    default="tensorrt",
    show_default=True,
    help="TensorRT builds on the GPU that will run the engine, TensorRT-RTX anywhere.",
)
@click.option(
    "--gpu",
    callback=_list,
    metavar="sm86,...",
    help="TensorRT-RTX: what to build for, one engine each.  [default: the GPU present]",
)
@click.option("--workspace", type=int, metavar="MB", help="Limit of the builder's scratch memory.")
@click.option(
    "--optimization", type=int, metavar="0..5", help="How much TensorRT tries.  [default: its own]"
)
@click.option("--rebuild", is_flag=True, help="Build again what is there and fits.")
@click.option("--dry-run", is_flag=True, help="Say what would be built, and build nothing.")
def build(
    bundle: Path,
    precision: tuple[str, ...],
    target: Literal["tensorrt", "tensorrt-rtx"],
    gpu: tuple[str, ...],
    workspace: int | None,
    optimization: int | None,
    rebuild: bool,
    dry_run: bool,
) -> None:
    """Compile the step graphs of a bundle with TensorRT, into its folder engines/."""
    from vidtok_edge.export.engine_build import (
        BuilderOptions,
        BuildRequest,
        build_engines,
        plan_engines,
    )

    options = BuilderOptions(workspace, optimization)
    plan = plan_engines(BuildRequest(bundle, target, precision, gpu, options, rebuild))
    for engine in plan.engines:
        if not engine:
            click.echo(f"{engine.path.name:<40} kept: it fits its graph and {engine.host}")
        elif dry_run:
            click.echo(f"{engine.path.name:<40} would be built: {engine.why}")
    if dry_run:
        return
    built = build_engines(plan, lambda name, path: _stage(f"{name:<40}", path))
    for engine, file in zip(plan.engines, built, strict=True):
        if engine:
            click.echo(f"{file.path.name:<40} {file.sidecar.proof}")
    click.echo(str(built[0].path.parent))


# --- clips ------------------------------------------------------------------------------------

_bundle = click.option("--bundle", "-b", required=True, type=click.Path(path_type=Path),
                       help="Folder that `export` wrote.")  # fmt: skip
_output = click.option("--output", "-o", required=True, type=click.Path(path_type=Path))
_backend = click.option("--backend", default="auto", show_default=True,
                        help="auto, cpu, cuda, tensorrt, tensorrt-rtx.")  # fmt: skip
_precision = click.option("--precision", help="fp32, fp16 or int8.  [default: the bundle's first]")
_force = click.option("--force", is_flag=True, help="Replace what is there.")
_fit = click.option("--fit", type=click.Choice(["crop", "letterbox"]), default="crop",
                    show_default=True,
                    help="How the clip is brought to the bundle's size.")  # fmt: skip
_fps = click.option("--fps", metavar="N|every-frame", help="Sample the clip at about N frames per "
                    "second, or take each frame of a variable rate as it comes.")  # fmt: skip


@main.command()
@click.argument("clip", type=click.Path(path_type=Path))
@_bundle
@_output
@_fit
@_fps
@_backend
@_precision
@_force
def encode(
    clip: Path, bundle: Path, output: Path, fit: Literal["crop", "letterbox"], fps: str | None,
    backend: str, precision: str | None, force: bool,
) -> None:  # fmt: skip
    """A clip to tokens (.npz)."""
    _need_video()
    from vidtok_edge.runtime.transcode import ClipSource, encode_clip

    loaded = _load(bundle)
    source = ClipSource(clip, fit, _rate(fps))
    with _frame_bar("encoding") as progress:
        done = encode_clip(
            loaded,
            source,
            output,
            backend=backend,
            precision=precision,
            force=force,
            progress=progress,
        )
    click.echo(
        f"{done.frames} frames -> {done.latents} latents, {done.tokens} "
        f"{'tokens' if loaded.manifest.model.levels else 'values'}, "
        f"{done.bits_per_pixel:.4f} bits per pixel, "
        f"{done.frames / done.seconds:.1f} frames/s\n{output}"
    )
    _report_loss(done.lost)


@main.command()
@click.argument("tokens", type=click.Path(path_type=Path))
@_bundle
@_output
@click.option("--fps", type=float, help="Of the clip; what the token file says where not given.")
@_backend
@_precision
@_force
def decode(
    tokens: Path,
    bundle: Path,
    output: Path,
    fps: float | None,
    backend: str,
    precision: str | None,
    force: bool,
) -> None:
    """Tokens to a clip (.mp4, .mkv)."""
    _need_video()
    from vidtok_edge.runtime.transcode import decode_file

    with _frame_bar("decoding") as progress:
        done = decode_file(
            _load(bundle),
            tokens,
            output,
            fps=fps,
            backend=backend,
            precision=precision,
            force=force,
            progress=progress,
        )
    click.echo(f"{done.frames} frames, {done.frames / done.seconds:.1f} frames/s\n{output}")


@main.command()
@click.argument("clip", type=click.Path(path_type=Path))
@_bundle
@_output
@click.option(
    "--picture",
    type=click.Path(path_type=Path),
    help="The contact sheet.  [default: OUTPUT as .png]",
)
@_fit
@_fps
@_backend
@_precision
@_force
def reconstruct(
    clip: Path, bundle: Path, output: Path, picture: Path | None, fit: Literal["crop", "letterbox"],
    fps: str | None, backend: str, precision: str | None, force: bool,
) -> None:  # fmt: skip
    """A clip through the tokenizer and back: side by side, a picture, and figures."""
    _need_video()
    from vidtok_edge.runtime.transcode import ClipSource, reconstruct_clip

    loaded = _load(bundle)
    source = ClipSource(clip, fit, _rate(fps))
    sheet = picture or output.with_suffix(".png")
    with _frame_bar("reconstructing") as progress:
        done = reconstruct_clip(
            loaded,
            source,
            output,
            picture=sheet,
            backend=backend,
            precision=precision,
            force=force,
            progress=progress,
        )
    worst = f"{done.worst_psnr_db:.2f} dB in frame {done.worst_frame}"
    kilobits = done.bits_per_second / 1000
    _print_columns([
        ("frames", f"{done.frames} at {done.fps:g} fps"),
        ("PSNR", f"{done.psnr_db:.2f} dB, worst {worst}"),
        ("SSIM", f"{done.ssim:.4f}"),
        ("token rate", f"{done.tokens_per_second:.0f} positions/s, {kilobits:.1f} kbit/s"),
        ("bits per pixel", f"{done.bits_per_pixel:.4f}"),
        ("encode", f"{done.encode_fps:.1f} frames/s"),
        ("decode", f"{done.decode_fps:.1f} frames/s"),
        ("backend", done.backend),
        ("clip", str(output)),
        ("picture", str(sheet)),
    ])  # fmt: skip
    _report_loss(done.lost)


@main.command()
def doctor() -> None:
    """Say what this machine has, what is missing, and the line that installs it."""
    from vidtok_edge.errors import BackendUnavailable
    from vidtok_edge.runtime.doctor import examine

    findings = examine()
    _print_columns(
        [
            (
                click.style("ok", fg="green") if f else click.style("--", fg="yellow"),
                f.name,
                f.found or "absent",
                f.purpose,
                "" if f else f.install,
            )
            for f in findings
        ]
    )
    missing = [f for f in findings if f.needed and not f]
    if missing:
        raise BackendUnavailable(f"Nothing here can run a bundle. Install: {missing[0].install}")


# --- printing and needing ---------------------------------------------------------------------


def _need(purpose: str, extra: str, packages: tuple[str, ...]) -> None:
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise MissingDependency(package, extra, purpose)


def _need_export() -> None:
    packages = ("torch", "onnx", "onnxscript", "onnxruntime", "safetensors", "av")
    _need("This command", "export", packages)


def _need_video() -> None:
    _need("This command", "video", ("av", "PIL"))


def _load(path: Path) -> Bundle:
    from vidtok_edge.runtime import Bundle

    bundle = Bundle.load(path)
    if not bundle.manifest.verified:
        click.secho(f"warning: {path} did not pass its verification", fg="yellow", err=True)
    return bundle


def _rate(text: str | None) -> float | Literal["every-frame"] | None:
    if text is None or text == "every-frame":
        return text  # type: ignore[return-value]
    try:
        return float(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is neither a number nor every-frame") from None


@contextmanager
def _stage(name: str, path: Path | None) -> Iterator[None]:
    """One line per stage: its name while it runs, then seconds and megabytes."""
    click.echo(f"{name:<28}", nl=False)
    start = time.perf_counter()
    try:
        yield
    except BaseException:
        click.echo(" not finished")
        raise
    size = f"{path.stat().st_size / 1e6:9.1f} MB" if path is not None else ""
    click.echo(f" {time.perf_counter() - start:7.1f} s {size}")


def _default_int8(model: VidTok, options: StepOptions, weights_sha256: str, folder: Path) -> Any:
    """`calib.default_int8` with a progress bar."""
    from vidtok_edge.calib import default_int8

    with _frame_bar("calibrating") as progress:
        return default_int8(model, options, weights_sha256, folder, progress)


@contextmanager
def _frame_bar(label: str) -> Iterator[Progress]:
    """A progress bar over frames; on something that is no terminal, nothing."""
    with click.progressbar(length=1, label=label, file=sys.stderr, show_pos=True) as bar:
        bar.length = 0

        def progress(done: int, total: int | None) -> None:
            bar.length = max(total or 0, done)
            bar.update(done - bar.pos)

        yield progress


def _report_loss(lost: str | None) -> None:
    if lost is not None:
        from vidtok_edge.errors import ClipError

        raise ClipError(f"the clip is damaged; what could be read was used. {lost}")


def _require_passed(report: ParityReport, otherwise: str) -> None:
    if not report:
        worst = "; ".join(str(failure) for failure in report.failures)
        raise CheckFailed(f"{otherwise}: {worst}")


def _print_report(report: ParityReport) -> None:
    click.echo(f"\nparity of {report.variant} on {report.backend}, against the PyTorch reference")
    click.echo(report.table())


def _print_precisions(exported: Exported) -> None:
    """The precisions side by side, where there is more than one."""
    if len(exported.bundle.manifest.precisions) < 2:
        return
    from vidtok_edge.export.precision_table import precision_rows

    rows = precision_rows(exported.bundle, exported.report)
    clips = [loss.clip for loss in rows[0].losses]
    table = [(
        "graphs", "files MB", "caches MB", "encode ms", "decode ms",
        *(f"{clip}: {what}" for clip in clips for what in ("tokens equal", "PSNR dB", "SSIM")),
    )]  # fmt: skip
    for row in rows:
        quality = [
            (
                "-" if loss.tokens_equal is None else f"{loss.tokens_equal:.1%}",
                f"{loss.source_psnr_db:.2f} ({-loss.loss_db:+.2f})",
                f"{loss.source_ssim:.3f}",
            )
            for loss in row.losses
        ]
        table.append((
            row.graphs, f"{row.file_bytes / 1e6:.1f}", f"{row.cache_bytes / 1e6:.1f}",
            *("-" if ms is None else f"{ms:.0f}" for ms in (row.encode_ms, row.decode_ms)),
            *(cell for cells in quality for cell in cells),
        ))  # fmt: skip
    click.echo("\nprecisions side by side; a step is one call; int8-tensorrt is for engines")
    _print_columns(table)


def _print_calibration_plan(plan: RecalibrationPlan, request: RecalibrationRequest) -> None:
    stored = plan.calibration.stored is not None
    _print_calibration(plan.calibration.clips, stored, plan.calibration.notes, "would be ")
    _print_mix(plan.levels, plan.work_int8_share)
    if request.budget:
        click.echo(f"layers would go back to float until there is {request.budget}")
    click.echo("would write the INT8 graphs for ONNX Runtime and TensorRT, and verify them")


def _print_calibration(clips: ClipList, reused: bool, notes: Sequence[str], would: str) -> None:
    for note in notes:
        click.secho(f"note: {note}", fg="yellow", err=True)
    frames = sum(clip.frames for clip in clips.used)
    names = ", ".join(clip.name for clip in clips.used[:3]) + (", ..." if len(clips) > 3 else "")
    what = "reused: nothing changed since they were stored" if reused else "calibrated"
    click.echo(f"ranges   {would}{what}; {frames} frames of {len(clips)} clip(s): {names}")


def _print_mix(levels: Mapping[str, Level], share: float) -> None:
    counts = {level: list(levels.values()).count(level) for level in ("int8", "cache", "float")}
    click.echo(
        f"policy   {counts['int8']} layers in INT8, {share:.1%} of the work; {counts['cache']} "
        f"with INT8 caches alone, {counts['float']} in float"
    )


def _print_recalibrated(done: Recalibrated) -> None:
    click.echo()
    _print_calibration(done.calibration.clips, done.calibration.reused, done.calibration.notes, "")
    if done.sensitivity:
        _print_sensitivity(done.sensitivity)
    _print_mix(done.levels, done.work_int8_share)
    click.echo(f"         {done.policy}")


def _print_sensitivity(found: Sensitivity) -> None:
    click.echo(f"\neach layer alone, on {found.frames} frames of {found.clip}; the worst first")
    table = [("layer", "level", "work", "tokens equal", "PSNR dB to fp32", "loss dB")]
    for damage in found.damages[:_LAYERS_SHOWN]:
        equal = "-" if damage.tokens_equal is None else f"{damage.tokens_equal:.1%}"
        table.append((
            damage.layer, damage.level, f"{damage.work_share:.2%}", equal, f"{damage.psnr_db:.2f}",
            f"{damage.loss_db:+.3f}",
        ))  # fmt: skip
    _print_columns(table)
    rest = len(found.damages) - _LAYERS_SHOWN
    click.echo(f"{f'and {rest} more, ' if rest > 0 else ''}all in {found.report}\n")
    click.echo("mixes    each measured whole, the worse figures of both placements")
    for point in found.points:
        click.echo(f"  {'>' if point == found.chosen else ' '}      {point}")
    click.echo(f"         {found.picture}\n")


def _describe(manifest: Manifest) -> str:
    caches = ", ".join(f"{g.name} {g.cache_bytes / 1e6:.1f} MB" for g in manifest.graphs)
    weights = (
        f"{manifest.weights.source}, {manifest.weights.location}, {manifest.weights.sha256[:12]}"
    )
    return (
        f"{manifest.model.variant}  weights: {weights}\n"
        f"caches   {caches} for {manifest.streams} stream(s); a running graph holds two sets"
    )


def _print_plan(plan: ExportPlan, output: Path) -> None:
    click.echo(f"would write {output}:")
    rows = []
    for precision in plan.precisions:
        part = {"fp32": 1.0, "fp16": 0.5, "int8": 0.25}[precision]
        for kind, interface in (("encoder", plan.encoder), ("decoder", plan.decoder)):
            caches = [spec for spec in interface.inputs if spec.name.startswith("cache_")]
            size = sum(spec.nbytes for spec in caches) / 1e6
            rows.append((
                f"  {kind}.{precision}.onnx",
                f"about {part * plan.weight_bytes[kind] / 1e6:.0f} MB",
                f"{len(caches)} caches, {'' if part == 1 else 'about '}{part * size:.1f} MB",
                ", ".join(map(str, interface.inputs[:1])),
            ))  # fmt: skip
    if "int8" in plan.precisions:
        rows.append(("  and the same for TensorRT", "*.int8-tensorrt.onnx", "", ""))
    _print_columns(rows)


def _print_columns(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(len(click.unstyle(row[i])) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = [
            cell + " " * (w - len(click.unstyle(cell))) for cell, w in zip(row, widths, strict=True)
        ]
        click.echo("  ".join(cells).rstrip())


if __name__ == "__main__":
    main()
