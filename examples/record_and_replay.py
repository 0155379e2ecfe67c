"""A camera to a recording that survives a kill at any moment, and a part of it back to frames.

python examples/record_and_replay.py BUNDLE RECORDING [SOURCE]
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np

from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.session.options import RecordOptions
from vidtok_edge.runtime.session.record import record
from vidtok_edge.runtime.session.replay import replay
from vidtok_edge.runtime.session.request import RecordRequest


def main(path: str, recording: str, source: str = "synthetic:30") -> None:
    bundle = Bundle.load(path)
    request = RecordRequest(
        bundle=bundle,
        sources=(source,),  # also /dev/video0, rtsp://..., a file, a folder of images
        output=Path(recording),
        options=RecordOptions(duration_s=2.0),
    )
    summary = record(request)
    print(f"{summary.sources[0].frames_encoded} frames, {summary.sources[0].latents} latents")

    raw = io.BytesIO()
    done = replay(recording, bundle, raw, start_s=0.5, end_s=1.5)
    shape = (done.frames, bundle.manifest.height, bundle.manifest.width, 3)
    frames = np.frombuffer(raw.getvalue(), np.uint8).reshape(shape)
    print(f"from 0.5 s to 1.5 s: frames {list(frames.shape)} at {done.fps:g} per second")


if __name__ == "__main__":
    main(*sys.argv[1:4])
