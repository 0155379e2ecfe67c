"""`convert`: a checkpoint that holds other objects to weights alone."""

from __future__ import annotations

from pathlib import Path

import click

from vidtok_edge.commands.options import PathName, force_option, output_option
from vidtok_edge.commands.printing import need_export, warn
from vidtok_edge.commands.terminal import say


@click.command()
@click.argument("checkpoint", type=PathName())
@output_option
@click.option(
    "--run-its-code",
    is_flag=True,
    help="Consent: unpickling runs code that whoever made the file chose.",
)
@force_option
def convert(checkpoint: Path, output: Path, run_its_code: bool, force: bool) -> None:
    """A checkpoint that holds more than tensors to safetensors, for export --checkpoint.

    Runs the code in the file. Use it on files you trust, where nothing can be lost.
    """
    need_export()
    from vidtok_edge.export.conversion import convert_checkpoint

    converted = convert_checkpoint(checkpoint, output, run_its_code=run_its_code, force=force)
    if converted.left_out:
        warn(f"{len(converted.left_out)} keys hold no tensor and were left out")
    say(f"{converted.tensors} tensors\n{output}")
