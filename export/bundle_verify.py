"""Verification of a bundle that was written earlier, perhaps elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from vidtok_edge.errors import CheckpointError, UsageError
from vidtok_edge.export.bundle_export import PARITY_REPORT, machine_facts, write_verdict
from vidtok_edge.export.verifying.loss import DEFAULT_LIMITS, Limits
from vidtok_edge.export.verifying.report import ParityReport
from vidtok_edge.export.verifying.self_check import self_check
from vidtok_edge.export.verifying.verification import verify_bundle
from vidtok_edge.lowering.facts import variant_of
from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.backends.backend import Backend
from vidtok_edge.runtime.manifest.graphs import Precision
from vidtok_edge.runtime.manifest.identity import weights_named
from vidtok_edge.vidtok_ref import VidTok, load_weights

__all__ = ["reference_of", "verify_written"]


def verify_written(
    bundle: Bundle,
    checkpoint: str | None = None,
    backend: str = Backend.ONNXRUNTIME,
    limits: Mapping[Precision, Limits] = DEFAULT_LIMITS,
) -> ParityReport:
    """Verify `bundle` against the reference with its weights; store report and verdict in it.

    Args:
        bundle: as loaded.
        checkpoint: the file its weights came from; not needed for embedded, random and hub weights.
        backend: the name of one; see `verify_bundle`.
        limits: what precisions may cost.

    Raises:
        UsageError: the weights came from a file, and none is named.
        CheckpointError: the weights are not those of the bundle.
    """
    model = reference_of(bundle, checkpoint)
    report = verify_bundle(bundle, model, Backend.named(backend), limits=limits)
    if bundle.manifest.weights.source in ("file", "hub"):
        _, check = self_check(model, try_twins=False)
        report = replace(report, comparisons=(*check.comparisons, *report.comparisons))
    report.write(bundle.path / PARITY_REPORT, machine_facts())
    write_verdict(bundle.path, bundle.manifest, report)
    return report


def reference_of(bundle: Bundle, checkpoint: str | None) -> VidTok:
    """The model whose weights `bundle` has; arguments and errors as `verify_written`."""
    weights, variant = bundle.manifest.weights, variant_of(bundle.manifest)
    seed = 0
    if checkpoint is None:
        if weights.source == "file":
            raise UsageError(
                f"The weights of {bundle.path} came from the file {weights.location}. "
                "Name it with --checkpoint."
            )
        if weights.source != "embedded":
            checkpoint = weights.source
        if weights.source == "random":
            seed = int(weights.location.removeprefix("seed "))
    model, origin = load_weights(variant, checkpoint, seed, identified=True)
    if origin.sha256 != weights.sha256 and origin.averaged:
        model, origin = load_weights(variant, checkpoint, identified=True, ema=True)
    if origin.sha256 != weights.sha256:
        advice = "Name the checkpoint that the bundle was exported from."
        if checkpoint is None and weights.source == "embedded":
            advice = "Export it again, or verify it with a version that ships its weights."
        raise CheckpointError(
            f"The weights here have SHA-256 {weights_named(origin.sha256)}, those of the bundle "
            f"{weights_named(weights.sha256)}. {advice}"
        )
    return model
