"""`verify`: a bundle against the reference."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from vidtok_edge.commands.options import PathName, checkpoint_option
from vidtok_edge.commands.printing import (
    describe,
    need_export,
    print_report,
    require_passed,
    stage,
)
from vidtok_edge.commands.terminal import say

if TYPE_CHECKING:
    pass


@click.command()
@click.argument("bundle", type=PathName())
@checkpoint_option
@click.option(
    "--backend",
    default="onnxruntime",
    show_default=True,
    help="onnxruntime (all graphs, with CUDA where it has it), auto (what would run here), cpu, "
    "cuda, tensorrt, tensorrt-rtx, onnxruntime-tensorrt-rtx, openvino.",
)
@click.option(
    "--min-tokens",
    type=float,
    metavar="SHARE",
    help="FP16, INT8: least share of equal tokens.  [default: fp16 0.99, int8 none]",
)
@click.option(
    "--min-psnr",
    type=float,
    metavar="DB",
    help="FP16, INT8: least PSNR against fp32.  [default: fp16 40, int8 none]",
)
@click.option(
    "--max-loss-db",
    type=float,
    metavar="DB",
    help="FP16, INT8: most PSNR lost against the source.  [default: fp16 none, int8 0.5]",
)
def verify(
    bundle: Path,
    checkpoint: str | None,
    backend: str,
    min_tokens: float | None,
    min_psnr: float | None,
    max_loss_db: float | None,
) -> None:
    """Stream a bundle and compare it with the reference; exit 1 where a limit is passed."""
    need_export()
    from vidtok_edge.export import verify_written
    from vidtok_edge.export.verifying.loss import limits_with
    from vidtok_edge.runtime import Bundle
    from vidtok_edge.runtime.backends.backend import Backend

    loaded = Bundle.load(bundle, check_hashes=True)
    others = [] if Backend.named(backend).target else loaded.other_forms(check_hashes=True)
    limits = limits_with(min_tokens, min_psnr, max_loss_db)
    for form in (loaded, *others):
        say(describe(form.manifest))
        with stage("verification", None):
            report = verify_written(form, checkpoint, backend, limits)
        print_report(report)
        require_passed(report, f"{form.path} is marked unverified")
