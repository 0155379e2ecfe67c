"""Writes full-width fp16 graphs with random weights, in both forms, unverified: to time them.

    python benchmarks/full_width.py FOLDER
    python benchmarks/full_width.py FOLDER --form conv3d --size 128

Verification of a full-width model takes many minutes on a CPU, and a time needs none. Each form is
a bundle in a folder of its name. Needs the `export` extra.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import click

from vidtok_edge.export.bundle_files import write_graphs
from vidtok_edge.lowering.facts import BOTH_FP16
from vidtok_edge.lowering.forms import FormName
from vidtok_edge.lowering.step import StepOptions
from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.manifest.model import WeightsFacts
from vidtok_edge.vidtok_ref import VidTok, load_weights

VARIANT = "vidtok_fsq_causal_488_32768_v1_1"


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--size", default=256, show_default=True, help="Height and width of frames.")
@click.option(
    "--form",
    "forms",
    type=click.Choice(["conv2d", "conv3d"]),
    multiple=True,
    default=("conv2d", "conv3d"),
    show_default=True,
)
def main(folder: Path, size: int, forms: Sequence[FormName]) -> None:
    if taken := [form for form in forms if (folder / form).exists()]:
        raise click.BadParameter(
            f"{folder} has {', '.join(taken)} already; name another folder, or remove them."
        )
    model, origin = load_weights(VARIANT, "random")
    weights = WeightsFacts(origin.source, origin.location, origin.sha256)
    for form in forms:
        start = time.perf_counter()
        bundle = write_form(model, weights, size, form, folder / form)
        click.echo(f"{bundle.path}: {time.perf_counter() - start:.0f} s")


def write_form(
    model: VidTok, weights: WeightsFacts, size: int, form: FormName, folder: Path
) -> Bundle:
    """A bundle of both fp16 graphs of `model` in one form, not verified, in a new `folder`."""
    folder.mkdir(parents=True)
    options = StepOptions(size, size, form=form)
    return write_graphs(model, options, folder, weights, numerics=[BOTH_FP16])


if __name__ == "__main__":
    main()
