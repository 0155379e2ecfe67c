"""Weights of your own to a verified bundle.

python examples/own_checkpoint.py CHECKPOINT BUNDLE [VARIANT] [HEIGHT WIDTH]

The checkpoint (.ckpt, .pt, .safetensors) has the tensors of the variant under the official names.
"""

from __future__ import annotations

import sys
from pathlib import Path

from vidtok_edge.export import ExportRequest, StepOptions, export_bundle


def main(
    checkpoint: str, output: str, variant: str = "fsq", height: int = 256, width: int = 256
) -> None:
    request = ExportRequest(
        variant=variant,
        output=Path(output),
        checkpoint=checkpoint,
        options=StepOptions(height, width),
        precisions=("fp32",),  # also fp16 and int8
    )
    exported = export_bundle(request)
    print(exported.report.table())
    if not exported.report:
        sys.exit(f"{output} was written and is marked unverified")
    print(f"{output}: {exported.bundle.manifest.model.variant}, verified")


if __name__ == "__main__":
    main(*sys.argv[1:4], *map(int, sys.argv[4:6]))
