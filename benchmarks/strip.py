"""The picture at the top of the README: source, tokens as colours, reconstruction, over time.

python benchmarks/strip.py BUNDLE CLIP PICTURE [--columns 6] [--height 128]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.clips.reading import ClipReader
from vidtok_edge.runtime.files import write_beside
from vidtok_edge.runtime.viewing.token_picture import latent_picture

_GAP = 4  # pixels between pictures
Pixels = NDArray[np.uint8]


def strip(bundle: Bundle, clip: Path, columns: int) -> list[tuple[Pixels, Pixels, Pixels]]:
    """Source [H, W, 3], tokens [h, w, 3] and reconstruction [H, W, 3] of latents over the clip."""
    manifest = bundle.manifest
    sources, latents, pictures = [], [], []
    with (
        ClipReader(clip, size=(manifest.height, manifest.width)) as reader,
        bundle.encoder() as encoder,
        bundle.decoder() as decoder,
    ):
        for frame in reader:
            sources.append(frame.pixels)
            for got in encoder.push(frame.pixels):
                latents += list(got.values)
                pictures += decoder.push(got)
        for got in encoder.finish():
            latents += list(got.values)
            pictures += decoder.push(got)
        pictures += decoder.finish()
    f, levels = manifest.model.time_factor, manifest.model.levels
    chosen = np.linspace(1, len(latents) - 1, columns).round().astype(int)
    return [
        (sources[f * i], latent_picture(latents[i], levels), pictures[f * i].pixels) for i in chosen
    ]


def drawn(columns: list[tuple[Pixels, Pixels, Pixels]], height: int) -> Image.Image:
    """One column for each, one row for each kind, on white."""
    first = columns[0][0]
    width = round(height * first.shape[1] / first.shape[0])
    size = (len(columns) * (width + _GAP) - _GAP, 3 * (height + _GAP) - _GAP)
    sheet = Image.new("RGB", size, "white")
    for x, rows in enumerate(columns):
        for y, pixels in enumerate(rows):
            how = Image.Resampling.NEAREST if y == 1 else Image.Resampling.LANCZOS
            picture = Image.fromarray(pixels).resize((width, height), how)
            sheet.paste(picture, (x * (width + _GAP), y * (height + _GAP)))
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("clip", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--columns", type=int, default=6)
    parser.add_argument("--height", type=int, default=128)
    args = parser.parse_args()
    sheet = drawn(strip(Bundle.load(args.bundle), args.clip, args.columns), args.height)
    with write_beside(args.picture, force=True) as temporary, temporary.open("wb") as file:
        sheet.save(file, format="PNG", optimize=True)


if __name__ == "__main__":
    main()
