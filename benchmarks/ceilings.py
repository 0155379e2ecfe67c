"""What this device can copy and multiply at most: the ceilings that times are held to.

    python benchmarks/ceilings.py result.json          # of the GPU, through PyTorch
    python benchmarks/ceilings.py result.json --cpu    # of the CPU, through NumPy

A copy of a large array, read and written bytes together, and a product of square matrices: the
best of several. FP32 without TF32. `bench` measures them in its own runs, too.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from vidtok_edge.errors import VidTokEdgeError
from vidtok_edge.runtime.bench.measuring.ceilings import cpu_ceilings


@click.command(help=__doc__)
@click.argument("out", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--cpu", is_flag=True, help="Of the CPU, by NumPy.")
def main(out: Path, cpu: bool) -> None:
    try:
        if cpu:
            found = cpu_ceilings()
        else:
            from vidtok_edge.export.bench_ceilings import gpu_ceilings

            found = gpu_ceilings()
    except VidTokEdgeError as error:
        raise click.ClickException(str(error)) from None
    click.echo(found)
    out.write_text(json.dumps({"ceilings": asdict(found)}) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
