"""Raw RGB frames on standard input, from FFmpeg or GStreamer, to a token file.

ffmpeg -i CLIP -vf scale=256:256 -f rawvideo -pix_fmt rgb24 - | python examples/pipe.py BUNDLE OUT
"""

from __future__ import annotations

import sys

import numpy as np

from vidtok_edge import __version__
from vidtok_edge.runtime import Bundle, Latents
from vidtok_edge.runtime.clips.token_files import TokenFile, TokenMeta
from vidtok_edge.runtime.sources.raw_pipe import RawPipeSource

FPS = 30.0  # raw frames do not say it


def main(path: str, output: str) -> None:
    bundle = Bundle.load(path)
    manifest = bundle.manifest
    latents: list[Latents] = []
    frames = 0
    with bundle.encoder() as encoder:
        for frame in RawPipeSource("-", (manifest.height, manifest.width)):
            latents += encoder.push(frame.pixels, capture_time_ns=round(frames * 1e9 / FPS))
            frames += 1
        latents += encoder.finish()
    meta = TokenMeta.of(
        manifest.model,
        weights_sha256=manifest.weights.sha256,
        precision=manifest.precisions[0],
        height=manifest.height,
        width=manifest.width,
        fps=FPS,
        frames=frames,
        toolkit_version=__version__,
    )
    tokens = np.concatenate([got.tokens for got in latents if got.tokens is not None])
    times_ns = np.concatenate([got.capture_time_ns for got in latents])
    TokenFile(tokens=tokens, time_ns=times_ns, meta=meta).save(output)
    print(f"{frames} frames, tokens {list(tokens.shape)}, {output}")


if __name__ == "__main__":
    main(*sys.argv[1:3])
