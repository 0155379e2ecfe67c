"""Weights of your own to a verified bundle.

python examples/own_checkpoint.py CHECKPOINT BUNDLE [VARIANT] [HEIGHT WIDTH]

The checkpoint (.ckpt, .pt, .safetensors) has the tensors of the variant under the official names.
"""

from __future__ import annotations

import sys
from pathlib import Path

from vidtok_edge.export import ExportRequest, StepOptions, export_bundle


def main(checkpoint: str, output: str, variant: str = "fsq", *, height: int, width: int) -> None:
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
    arguments = sys.argv[1:]
    sizes = [int(pixels) for pixels in arguments[3:5]] or [256, 256]
    main(arguments[0], arguments[1], *(arguments[2:3] or ["fsq"]), height=sizes[0], width=sizes[1])
