"""Entering a recording anywhere: whether its frames are those of decoding everything, and how soon.

    vidtok-export --variant fsq --precision int8 --output BUNDLE
    python benchmarks/entry.py BUNDLE --json docs/measured/entry/result.json
    python benchmarks/entry.py BUNDLE --starts 3 --rounds 1        # does it run?

Each shipped clip is run there and back, which makes a long stream without a cut, encoded and
recorded. The recording is decoded as a whole, then from random starts: the first frames of each
must be the same bytes. Times are from opening the recording to the first frame, decoder open.
Exits 1 where a byte differs.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import chain, islice
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from report import commit_of

from vidtok_edge.runtime import Bundle, StreamDecoder
from vidtok_edge.runtime.bench.meters.machine import describe_machine
from vidtok_edge.runtime.clips.quality import psnr
from vidtok_edge.runtime.clips.reading import ClipReader
from vidtok_edge.runtime.recording import RecordingWriter, Tokenizer
from vidtok_edge.runtime.recording.format.reader import Recording
from vidtok_edge.runtime.recording.playback import Playback
from vidtok_edge.runtime.streaming.latents import Stamp
from vidtok_edge.runtime.streaming.records import SourceRecords
from vidtok_edge.vidtok_ref import embedded_file

CLIPS = {"robot": "clip_robot.mp4", "film": "clip_film.mp4"}
FPS = 30
CHECKED = 8
"""Frames from each start on that are compared."""
FAST = (2, 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entries:
    """What was found of one clip."""

    clip: str
    frames: int
    starts: int
    equal: int
    """Starts whose frames were those of decoding everything, byte for byte."""
    exact_s: float
    """To the first frame, median over the starts."""
    decoded_before: int
    """Latents, at most."""
    fast: dict[str, tuple[float, float]]
    """By the latents decoded before: seconds to the first frame, and its PSNR in dB, medians."""


@click.command(help=__doc__)
@click.argument("bundle", type=click.Path(path_type=Path, exists=True))
@click.option("--precision", default="int8", show_default=True)
@click.option("--starts", default=20, show_default=True, type=click.IntRange(1))
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1), help="To and fro.")
@click.option("--json", "to_json", type=click.Path(path_type=Path, dir_okay=False))
def main(bundle: Path, precision: str, starts: int, rounds: int, to_json: Path | None) -> None:
    loaded, found = Bundle.load(bundle), []
    with tempfile.TemporaryDirectory() as folder:
        for name in CLIPS:
            path = record(loaded, precision, name, rounds, Path(folder) / f"{name}.mcap")
            found.append(entered(loaded, precision, name, path, starts))
            click.echo(json.dumps(asdict(found[-1])))
    if to_json is not None:
        document = {
            "benchmark": "entry",
            "commit": commit_of(),
            "precision": precision,
            "machine": asdict(describe_machine()),
            "clips": [asdict(one) for one in found],
        }
        to_json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    sys.exit(0 if all(one.equal == one.starts for one in found) else 1)


def there_and_back(bundle: Bundle, clip: str, rounds: int) -> Iterator[NDArray[np.uint8]]:
    """The frames of a shipped clip, forwards and backwards, over and over."""
    size = bundle.manifest.height, bundle.manifest.width
    with ClipReader(embedded_file(CLIPS[clip]), size=size) as reader:
        frames = [frame.pixels for frame in reader]
    for _ in range(rounds):
        yield from chain(frames, frames[::-1])


def record(bundle: Bundle, precision: str, clip: str, rounds: int, path: Path) -> Path:
    """Encode and record it, a frame each 30th of a second of its own clock."""
    camera, number = SourceRecords(0), 0
    tokenizer = Tokenizer.of(bundle, precision)
    with (
        bundle.encoder("cpu", precision=precision) as encoder,
        RecordingWriter(path, tokenizer, [clip]) as writer,
    ):
        writer.take(camera.start("start", 0, 0, fps=FPS))
        for number, frame in enumerate(there_and_back(bundle, clip, rounds)):
            time_ns = number * 10**9 // FPS
            stamp = Stamp(capture_time_ns=time_ns, wall_time_ns=time_ns, media_time_ns=time_ns)
            for latents in encoder.push(frame, stamp=stamp):
                for one in camera.encoded(latents, encode_start_ns=0, encode_end_ns=0):
                    writer.take(one)
        writer.take(camera.end("end", number * 10**9 // FPS, number * 10**9 // FPS))
    return path


def entered(bundle: Bundle, precision: str, clip: str, path: Path, starts: int) -> Entries:
    """Decode all of the recording, then from random frames on."""
    with bundle.decoder("cpu", precision=precision) as decoder:
        whole, _, _ = played(decoder, path, None, None, None)
        random = np.random.default_rng(0)
        chosen = random.integers(1, len(whole) - CHECKED, starts)
        equal, times, calls, fast = 0, [], 0, dict[int, list[tuple[float, float]]]()
        for start in chosen:
            frames, seconds, before = played(decoder, path, start / FPS, None, CHECKED)
            equal += all(
                np.array_equal(a, b)
                for a, b in zip(frames, whole[start : start + CHECKED], strict=True)
            )
            times.append(seconds)
            calls = max(calls, before)
            for lead in FAST:
                frames, seconds, _ = played(decoder, path, start / FPS, lead, 1)
                found = seconds, min(99.0, psnr(frames[0], whole[start]))
                fast.setdefault(lead, []).append(found)
    return Entries(
        clip=clip,
        frames=len(whole),
        starts=starts,
        equal=equal,
        exact_s=round(statistics.median(times), 2),
        decoded_before=calls,
        fast={
            str(lead): (
                round(statistics.median(seconds for seconds, _ in found), 2),
                round(statistics.median(db for _, db in found), 1),
            )
            for lead, found in fast.items()
        },
    )


def played(
    decoder: StreamDecoder, path: Path, start_s: float | None, lead: int | None, most: int | None
) -> tuple[list[NDArray[np.uint8]], float, int]:
    """The first frames, the seconds to the first of them, and the calls that came before it."""
    begin, calls = time.perf_counter(), decoder.calls
    frames: list[NDArray[np.uint8]] = []
    first_s, before = 0.0, 0
    with Recording.open(path) as recording:
        playback = Playback(
            recording=recording,
            decoder=decoder,
            source=0,
            fps=FPS,
            start_s=None if start_s is None else start_s - 0.25 / FPS,
            fast_start=lead,
        )
        for frame in islice(playback, most):
            if not frames:
                first_s, before = time.perf_counter() - begin, decoder.calls - calls
            frames.append(frame.pixels.copy())
    decoder.reset()
    return frames, first_s, before


if __name__ == "__main__":
    main()
