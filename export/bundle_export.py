"""The main path of the exporter: a variant in, a verified bundle out."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import onnx
import onnxruntime
import torch

from vidtok_edge import __version__
from vidtok_edge.calib.int8 import default_int8
from vidtok_edge.errors import UsageError
from vidtok_edge.export.bundle_files import write_graphs, write_manifest
from vidtok_edge.export.golden_stream import make_golden
from vidtok_edge.export.verifying.report import ParityReport
from vidtok_edge.export.verifying.self_check import SelfCheck, self_check
from vidtok_edge.export.verifying.verification import verify_bundle
from vidtok_edge.lowering.facts import BOTH_FP16, BOTH_FP32
from vidtok_edge.lowering.forms import FormName
from vidtok_edge.lowering.interface import KINDS, Interface, interface_of
from vidtok_edge.lowering.numerics import Numerics
from vidtok_edge.lowering.step import Kind, StepOptions
from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.bundle import FORMS
from vidtok_edge.runtime.folders import write_folder_beside
from vidtok_edge.runtime.manifest.graphs import Placement, Precision
from vidtok_edge.runtime.manifest.manifest import Manifest
from vidtok_edge.runtime.manifest.model import WeightsFacts
from vidtok_edge.runtime.progress import Bar, Stage, no_bar, no_stage
from vidtok_edge.variants import EMBEDDED, Variant, variant_by_name
from vidtok_edge.vidtok_ref import VidTok, WeightsOrigin, load_weights
from vidtok_edge.vidtok_ref.checkpoint import shapes_of

__all__ = ["ExportPlan", "ExportRequest", "Exported", "export_bundle", "plan_export"]

PARITY_REPORT = "reports/parity.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRequest:
    """What to export.

    Attributes:
        variant: a full or short name, or a configuration of your own.
        checkpoint: a path, `hub`, `random`, or None for the small tokenizer that ships with the
            package.
        options: sizes, streams, chunk, form, io. The form is that of every graph, but that
            `channels_last` is for ONNX Runtime alone (`Numerics.form`).
        precisions: which graphs to write; the first is what a runtime takes by default.
        output: the folder to write.
        force: replace a bundle that is there.
        seed: of random weights.
        ema: take the averaged weights of the checkpoint.
        other_forms: in which the graphs for engines are written as well, to choose from where they
            will run; beside `conv2d` or `conv3d`.

    Raises:
        UsageError: several forms with `channels_last` among them; a seed, or averaged weights, of
            weights that have none.
    """

    variant: str | Variant
    output: Path
    checkpoint: str | None = None
    options: StepOptions = field(default_factory=StepOptions)
    precisions: tuple[Precision, ...] = ("fp32",)
    force: bool = False
    seed: int = 0
    other_forms: tuple[FormName, ...] = ()
    ema: bool = False

    def __post_init__(self) -> None:
        forms = (self.options.form, *self.other_forms)
        if len(forms) > 1 and "channels_last" in forms:
            raise UsageError(
                f"The form channels_last stands alone, for ONNX Runtime, got {', '.join(forms)}. "
                "To choose between engines name conv2d,conv3d."
            )
        if self.ema and self.checkpoint in (None, "random"):
            raise UsageError("--ema is for weights from a file or the hub; leave it out.")
        if self.seed and self.checkpoint != "random":
            raise UsageError("--seed is of --checkpoint random; leave it out, or add that.")

    def with_options(self, options: StepOptions) -> ExportRequest:
        """The same request with other options."""
        return replace(self, options=options)

    @property
    def resolved(self) -> Variant:
        """The variant meant: without a checkpoint `fsq` is the embedded one."""
        if isinstance(self.variant, Variant):
            return self.variant
        if self.checkpoint is None and self.variant == "fsq":
            return EMBEDDED
        return variant_by_name(self.variant)


@dataclass(frozen=True, slots=True)
class ExportPlan:
    """What an export would write."""

    variant: Variant
    encoder: Interface
    decoder: Interface
    weight_bytes: dict[str, int]
    """Of the encoder and the decoder, float32."""
    precisions: tuple[Precision, ...]
    notes: tuple[str, ...] = ()
    """What was assumed about the weights of a file, as sentences."""


@dataclass(frozen=True, slots=True)
class Exported:
    """A bundle that was written, and whether it holds its promise."""

    bundle: Bundle
    report: ParityReport
    other_reports: tuple[ParityReport, ...] = ()
    """Of the same graphs in other forms."""
    notes: tuple[str, ...] = ()
    """What was assumed about the weights, or is odd about them, as sentences."""


def plan_export(request: ExportRequest) -> ExportPlan:
    """What `export_bundle` would write; checks weights that lie in a file, and writes nothing.

    Raises:
        UnknownVariant, UnsupportedSize, UsageError, CheckpointError: as `export_bundle`.
    """
    variant = request.resolved
    interfaces = [interface_of(variant, request.options, kind) for kind in KINDS]
    notes: tuple[str, ...] = ()
    if request.checkpoint not in (None, "hub", "random"):
        _, origin = _weights(request)
        notes = (*origin.notes, origin.assumed)
    return ExportPlan(
        variant,
        interfaces[0],
        interfaces[1],
        _weight_bytes(variant),
        request.precisions,
        tuple(filter(None, notes)),
    )


def _weights(request: ExportRequest) -> tuple[VidTok, WeightsOrigin]:
    return load_weights(request.variant, request.checkpoint, request.seed, ema=request.ema)


def _weight_bytes(variant: Variant) -> dict[str, int]:
    sizes: dict[str, int] = dict.fromkeys(KINDS, 0)
    for key, shape in shapes_of(variant).items():
        kind = "encoder" if key.startswith("encoder.") else "decoder"
        sizes[kind] += 4 * int(torch.Size(shape).numel())
    return sizes


def export_bundle(request: ExportRequest, stage: Stage = no_stage, bar: Bar = no_bar) -> Exported:
    """Load weights, write step graphs, verify them, and only then put the bundle in its place.

    A golden stream goes along, with which devices prove themselves (docs/prove.md).

    Weights of a file that fit several published variants become a bundle of the one that
    reconstructs the shipped clip better beyond doubt; `Exported.notes` says so.
    A failed or interrupted export leaves nothing behind. A bundle whose verification fails is
    written and marked unverified: the caller decides, the command exits 1.

    Args:
        request: what to export.
        stage: called around each stage, for progress.
        bar: opened around the calibration, which counts frames.

    Raises:
        UnknownVariant, UnsupportedSize, UsageError, OutputExists: the request is wrong.
        CheckpointError, HubUnreachable: the weights cannot be had.
        CalibrationError: INT8 cannot represent what the model computes.
        OutputNotWritable: the bundle cannot be written.
    """
    for form in (request.options.form, *request.other_forms):
        replace(request.options, form=form).check(request.resolved)
    with write_folder_beside(request.output, request.force) as folder:
        with stage("weights", None):
            model, origin = _weights(request)
        check: SelfCheck | None = None
        if origin.source in ("file", "hub"):
            # A configuration that was given is what the weights were trained as.
            try_twins = origin.source == "file" and isinstance(request.variant, str)
            with stage("shipped clips through it", None):
                model, check = self_check(model, try_twins=try_twins)
        weights = WeightsFacts(origin.source, origin.location, origin.sha256)
        numerics: list[Mapping[Kind, Numerics]] = []
        for precision in request.precisions:
            if precision == "int8":
                with stage("calibration", None), bar("calibrating") as progress:
                    numerics += default_int8(
                        model, request.options, origin.sha256, folder, progress
                    )
            else:
                numerics.append(BOTH_FP32 if precision == "fp32" else BOTH_FP16)
        report = _write_verified(folder, model, request.options, weights, numerics, stage, check)
        with stage("golden stream", None):
            make_golden(Bundle.load(folder), model).save(folder)
        for_engines = [
            pair for pair in numerics if pair["encoder"].placement != Placement.ONNXRUNTIME
        ]
        others = []
        for form in request.other_forms:
            nested = folder / FORMS / form
            nested.mkdir(parents=True)
            options = replace(request.options, form=form)
            others.append(_write_verified(nested, model, options, weights, for_engines, stage))
    notes = (*origin.notes, origin.assumed, check.warning if check else "")
    return Exported(Bundle.load(request.output), report, tuple(others), tuple(filter(None, notes)))


def _write_verified(
    folder: Path,
    model: VidTok,
    options: StepOptions,
    weights: WeightsFacts,
    numerics: Sequence[Mapping[Kind, Numerics]],
    stage: Stage,
    check: SelfCheck | None = None,
) -> ParityReport:
    """Write graphs, report and manifest into `folder`; the manifest has the verdict."""
    bundle = write_graphs(model, options, folder, weights, stage, numerics)
    with stage("verification", None):
        report = verify_bundle(bundle, model)
    if check is not None:
        report = replace(report, comparisons=(*check.comparisons, *report.comparisons))
    report.write(folder / PARITY_REPORT, machine_facts())
    write_verdict(folder, bundle.manifest, report)
    return report


def write_verdict(folder: Path, manifest: Manifest, report: ParityReport) -> None:
    """Write `manifest` into `folder` with what a verification of it found, and what it ran on."""
    versions = dict(machine_facts())
    packages = [f"{name} {versions[name]}" for name in ("torch", "onnx")]
    verified_with = (report.backend, *packages)
    verdict = replace(
        manifest, verified=bool(report), verified_with=verified_with, entries=report.entries
    )
    write_manifest(folder, verdict)


def machine_facts() -> list[tuple[str, str]]:
    """What a report should say about where it was made."""
    return [
        ("toolkit", __version__),
        ("torch", torch.__version__),
        ("onnx", onnx.__version__),
        ("onnxruntime", onnxruntime.__version__),
        ("python", platform.python_version()),
        ("machine", f"{platform.system()} {platform.machine()}"),
    ]
