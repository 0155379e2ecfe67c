"""What the codes of recordings take: bytes of tokens and of whole files, milliseconds of a latent.

    python benchmarks/code_sizes.py --bundle BUNDLE CLIP...

Prints a table in Markdown. Chunks are of `--chunk` latents, as many as fit into a flush. A time is
the median over the latents of a clip, of each the shortest of five; it is that of one core.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import product
from math import prod
from pathlib import Path
from statistics import median

import click
import numpy as np
import zstandard
from code_networks import tokens_of_clips
from numpy.typing import NDArray

from vidtok_edge.runtime.bundle import Bundle
from vidtok_edge.runtime.coding.latent_coder import LatentCoder
from vidtok_edge.runtime.coding.packing import bits_for, pack
from vidtok_edge.runtime.recording import RecordingWriter, Tokenizer
from vidtok_edge.runtime.streaming.latents import Stamp
from vidtok_edge.runtime.streaming.records import LatentRecord

ROUNDS = 5


def timed(make: Callable[[], LatentCoder], run: Callable[[LatentCoder], None]) -> float:
    """Milliseconds, the shortest of all rounds; `make` is not counted."""
    shortest = float("inf")
    for _ in range(ROUNDS):
        coder = make()
        began = time.perf_counter()
        run(coder)
        shortest = min(shortest, time.perf_counter() - began)
    return shortest * 1e3


def _encode(tokens: NDArray[np.int32], coder: LatentCoder) -> None:
    coder.encode(tokens)


def _decode(data: bytes, coder: LatentCoder) -> None:
    coder.decode(data)


def coder_at(
    levels: tuple[int, ...], latents: NDArray[np.int32], number: int, chunk: int
) -> LatentCoder:
    """A coder that has coded the latents before one in its chunk."""
    coder = LatentCoder(levels, *latents.shape[1:])
    for tokens in latents[number - number % chunk : number]:
        coder.encode(tokens)
    return coder


def sizes_and_times(
    levels: tuple[int, ...], latents: NDArray[np.int32], chunk: int, times: bool
) -> list[float]:
    """Bytes of a latent packed, packed and zstd, coded; milliseconds to encode and to decode."""
    bits, coder = bits_for(prod(levels)), LatentCoder(levels, *latents.shape[1:])
    packed = [pack(tokens, bits) for tokens in latents]
    chunks = [b"".join(packed[at : at + chunk]) for at in range(0, len(packed), chunk)]
    small = sum(len(zstandard.compress(one)) for one in chunks)
    coded, encoding, decoding = [], [], []
    for number, tokens in enumerate(latents):
        if number % chunk == 0:
            coder.reset()
        coded.append(coder.encode(tokens))
        if times:
            before = partial(coder_at, levels, latents, number, chunk)
            encoding.append(timed(before, partial(_encode, tokens)))
            decoding.append(timed(before, partial(_decode, coded[-1])))
    count = len(latents)
    found = [len(packed[0]), small / count, sum(map(len, coded)) / count]
    return [float(one) for one in found] + [median(encoding or [0]), median(decoding or [0])]


def file_sizes(tokenizer: Tokenizer, latents: NDArray[np.int32], chunk: int) -> list[int]:
    """Bytes of a recording: packed without compression, with zstd; coded without, with zstd."""
    found = []
    for code, compression in product(("packed", "entropy"), ("none", "zstd")):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "a.mcap"
            with RecordingWriter(
                path,
                tokenizer,
                ["clip"],
                flush_interval_s=3600,
                compression=compression,  # type: ignore[arg-type]
                code=code,  # type: ignore[arg-type]
            ) as writer:
                for index, tokens in enumerate(latents):
                    writer.take(latent_of(tokenizer, index, tokens))
                    if index % chunk == chunk - 1:
                        writer.flush()
            found.append(path.stat().st_size)
    return found


def latent_of(tokenizer: Tokenizer, index: int, tokens: NDArray[np.int32]) -> LatentRecord:
    """As a camera of 30 frames/s gives them."""
    share, rng = tokenizer.framing.share(index), np.random.default_rng(index)
    at_ns = index * 133_333_333 + int(rng.integers(1_000_000))
    done_ns = at_ns + 90_000_000 + int(rng.integers(10_000_000))
    return LatentRecord(
        source=0,
        stream=0,
        index=index,
        first_frame=share.start,
        frames_real=len(share),
        stamp=Stamp(
            capture_time_ns=at_ns,
            wall_time_ns=1_700_000_000_000_000_000 + at_ns,
            media_time_ns=None,
        ),
        encode_start_ns=at_ns + 1_000_000,
        encode_end_ns=done_ns,
        values=tokens,
    )


@click.command()
@click.option("--bundle", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--chunk", type=click.IntRange(1), default=8, show_default=True)
@click.option("--times/--no-times", default=True)
@click.argument("clips", nargs=-1, type=click.Path(path_type=Path, exists=True), required=True)
def main(bundle: Path, chunk: int, times: bool, clips: tuple[Path, ...]) -> None:
    """Measure and print."""
    loaded = Bundle.load(bundle)
    tokenizer = Tokenizer.of(loaded)
    click.echo(
        "| clip | latents | packed | zstd of it | coded | times smaller | encode ms | decode ms "
        "| file packed | with zstd | coded | with zstd |\n|" + "---|" * 12
    )
    for path, latents in tokens_of_clips(loaded, clips).items():
        packed, small, coded, encode, decode = sizes_and_times(
            tokenizer.levels, latents, chunk, times
        )
        files = " | ".join(map(str, file_sizes(tokenizer, latents, chunk)))
        click.echo(
            f"| {Path(path).stem} | {len(latents)} | {packed:.0f} | {small:.0f} | {coded:.0f} | "
            f"{packed / coded:.2f} | {encode:.1f} | {decode:.1f} | {files} |"
        )


if __name__ == "__main__":
    main()
