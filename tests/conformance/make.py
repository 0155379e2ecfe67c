"""Makes the files of this folder; see its README."""

from __future__ import annotations

import hashlib
import json
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.runtime.recording import Recording, RecordingWriter, Tokenizer
from vidtok_edge.runtime.recording.format import mcap_file
from vidtok_edge.runtime.streaming.latents import Stamp
from vidtok_edge.runtime.streaming.records import LatentRecord

FOLDER = Path(__file__).parent
WALL = 1_700_000_000_000_000_000
STEP_NS = 133_333_333
CHUNK = 7  # latents
PLANES = Tokenizer(
    variant="planes",
    weights_sha256="ef" * 32,
    precision="fp32",
    height=40,
    width=56,
    grid_height=5,
    grid_width=7,
    time_factor=4,
    causal=True,
    latent="fsq",
    levels=(8, 5, 2, 3),
    z_channels=4,
    toolkit_version="1",
)


def write(path: Path, tokenizer: Tokenizer, sources: list[list[NDArray[np.int32]]]) -> None:
    names = [f"source {number}" for number in range(len(sources))]
    with RecordingWriter(
        path, tokenizer, names, flush_interval_s=3600, code="entropy", force=True
    ) as writer:
        for index, together in enumerate(zip(*sources, strict=True)):
            for source, tokens in enumerate(together):
                share = tokenizer.framing.share(index)
                at_ns = index * STEP_NS
                stamp = Stamp(capture_time_ns=at_ns, wall_time_ns=WALL + at_ns, media_time_ns=at_ns)
                latent = LatentRecord(
                    source=source,
                    stream=0,
                    index=index,
                    first_frame=share.start,
                    frames_real=len(share),
                    stamp=stamp,
                    encode_start_ns=at_ns,
                    encode_end_ns=at_ns,
                    values=tokens,
                )
                writer.take(latent)
            if index % CHUNK == CHUNK - 1:
                writer.flush()


def tokens_of(path: Path) -> dict[int, list[NDArray[np.int32]]]:
    with Recording.open(path) as recording:
        return {
            number: [e.values for e in recording.entries(number) if isinstance(e, LatentRecord)]
            for number in recording.sources
        }


def planes() -> list[list[NDArray[np.int32]]]:
    rng = np.random.default_rng(1)
    noise = [rng.integers(0, PLANES.codebook_size, (5, 7), dtype=np.int32) for _ in range(10)]
    still = [noise[0].copy() for _ in range(10)]
    for number, tokens in enumerate(still):
        tokens[number % 5, number % 7] = number
    return [still, noise]


def main(robot: str) -> None:
    with Recording.open(robot) as recording:
        tokenizer = recording.source(0).tokenizer
        found = (e.values for e in recording.entries(0) if isinstance(e, LatentRecord))
        clip = list(islice(found, 2 * CHUNK))
    write(FOLDER / "entropy-robot.mcap", tokenizer, [clip])
    write(FOLDER / "entropy-planes.mcap", PLANES, planes())
    mcap_file.CODE_VERSION = 2
    write(FOLDER / "entropy-newer.mcap", PLANES, planes())
    mcap_file.CODE_VERSION = 1
    expected: dict[str, Any] = {}
    for name, wanted in (("entropy-robot.mcap", [clip]), ("entropy-planes.mcap", planes())):
        expected[name] = {}
        for number, latents in enumerate(wanted):
            data = b"".join(tokens.astype("<i4").tobytes() for tokens in latents)
            digest = hashlib.sha256(data).hexdigest()
            expected[name][str(number)] = {"latents": len(latents), "tokens_sha256": digest}
        assert [len(one) for one in tokens_of(FOLDER / name).values()] == [len(w) for w in wanted]
    text = json.dumps(expected, indent=1)
    (FOLDER / "expected.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
