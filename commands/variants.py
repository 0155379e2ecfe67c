"""`variants`: what there is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from vidtok_edge.commands.printing import (
    print_columns,
)

if TYPE_CHECKING:
    pass


@click.command()
def variants() -> None:
    """List the published models and the one that ships with the package."""
    from vidtok_edge.variants import EMBEDDED, SHORT_NAMES, VARIANTS

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
        rows.append(
            (
                variant.name,
                variant.version,
                latent,
                f"{variant.time_factor} x {space} x {space}",
                variant.promise.partition(":")[0],
                note,
            )
        )
    print_columns(rows)
