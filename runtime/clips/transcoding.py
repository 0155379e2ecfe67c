"""Whole clips through a bundle: a clip to tokens, tokens to a clip, and both side by side."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vidtok_edge import __version__
from vidtok_edge.errors import ClipError, UsageError
from vidtok_edge.runtime.bundle import Bundle
from vidtok_edge.runtime.clips.clip_frame import ClipFrame
from vidtok_edge.runtime.clips.image_folder import ImageFolderReader
from vidtok_edge.runtime.clips.pictures import Samples, contact_sheet, sheet_place, side_by_side
from vidtok_edge.runtime.clips.quality import Quality
from vidtok_edge.runtime.clips.reading import ClipReader, Rate
from vidtok_edge.runtime.clips.scanning import unknown_rate_error
from vidtok_edge.runtime.clips.token_files import TokenFile, TokenMeta
from vidtok_edge.runtime.clips.writing import ClipWriter
from vidtok_edge.runtime.files import require_not_read, write_beside
from vidtok_edge.runtime.manifest.graphs import GraphSpec
from vidtok_edge.runtime.manifest.manifest import Manifest
from vidtok_edge.runtime.progress import Progress, no_progress
from vidtok_edge.runtime.streaming.decoder import Picture, StreamDecoder
from vidtok_edge.runtime.streaming.latents import Latents, Stamp

__all__ = [
    "ClipSource",
    "Decoded",
    "Encoded",
    "Reconstructed",
    "bits_per_latent",
    "decode_file",
    "encode_clip",
    "reconstruct_clip",
]

StrPath = str | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class ClipSource:
    """A clip and how to read it, see `ClipReader`; or a folder of images, whose `rate` is given."""

    path: StrPath
    fit: Literal["crop", "letterbox"] = "crop"
    rate: Rate = None
    stream: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """What `encode_clip` did."""

    frames: int
    latents: int
    tokens: int
    """FSQ tokens, or KL values."""
    bits_per_pixel: float
    seconds: float
    """In the encoder alone."""
    lost: str | None
    """What of the clip could not be read."""
    doubts: tuple[str, ...]
    """See `ClipReader`."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """What `decode_file` did."""

    frames: int
    seconds: float
    """In the decoder alone."""
    fps: float
    """Of the clip that was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconstructed:
    """What `reconstruct_clip` did and how good it is."""

    frames: int
    fps: float
    """Of the clip."""
    psnr_db: float
    ssim: float
    worst_frame: int
    worst_psnr_db: float
    tokens_per_second: float
    """At the clip's frame rate."""
    bits_per_second: float
    bits_per_pixel: float
    encode_fps: float
    """Frames per second that the encoder alone managed."""
    decode_fps: float
    lost: str | None
    doubts: tuple[str, ...]
    """See `ClipReader`."""
    backend: str


def bits_per_latent(manifest: Manifest) -> float:
    """Bits of all values of one latent: log2 of the codebook each, or 16 per KL value."""
    return prod(manifest.grid) * manifest.model.bits_per_position


@dataclass(slots=True)
class _Stopwatch:
    """Adds up the seconds spent in calls."""

    seconds: float = 0.0

    def __call__(self, call: Callable[..., list[Any]], *args: Any, **kwargs: Any) -> list[Any]:
        start = time.perf_counter()
        result = call(*args, **kwargs)
        self.seconds += time.perf_counter() - start
        return result


def _require_uint8(manifest: Manifest) -> None:
    if manifest.io != "uint8":
        raise UsageError(
            "The bundle was exported with --io float, for comparing numbers; clips are uint8. "
            "Export it with --io uint8."
        )


Reader = ClipReader | ImageFolderReader


def _frames(clip: Reader, progress: Progress) -> Iterator[ClipFrame]:
    """One at least, or ClipError."""
    number = 0
    for number, frame in enumerate(clip, 1):
        yield frame
        progress(number, clip.frames_announced)
    if not number:
        raise ClipError(f"No frame of {clip.path} could be read. {clip.report.lost or ''}")


def _stamp(frame: ClipFrame) -> Stamp:
    """The time in the clip: a clip has no other clock."""
    return Stamp(capture_time_ns=frame.time_ns, wall_time_ns=frame.time_ns)


def _open(source: ClipSource, manifest: Manifest) -> Reader:
    size, path = (manifest.height, manifest.width), Path(source.path)
    if os.path.isdir(path):  # a name that cannot be one is told where it is opened
        if source.stream is not None or not isinstance(source.rate, int | float):
            raise UsageError(
                f"{path} is a folder of images: it has one stream, and its rate is not known. Give "
                "the rate as a number (--fps N), and no --stream."
            )
        return ImageFolderReader(path, size=size, fit=source.fit, fps=source.rate)
    return ClipReader(path, size=size, fit=source.fit, rate=source.rate, stream=source.stream)


def _timed(clip: Reader) -> Reader:
    """The clip, whose rate that of a clip to be written will be. Raises ClipError: it has none."""
    if not clip.fps:
        clip.close()
        raise unknown_rate_error(Path(clip.path))
    return clip


def encode_clip(
    bundle: Bundle,
    source: ClipSource,
    output: StrPath,
    *,
    backend: str = "auto",
    precision: str | None = None,
    force: bool = False,
    progress: Progress = no_progress,
) -> Encoded:
    """Encode a clip to a token file (`TokenFile`).

    A clip that is damaged in the middle, or changes its size, is encoded as far as it can be read;
    `Encoded.lost` says what is missing.

    Args:
        precision: of the graph; the bundle's first where None.

    Raises:
        ClipError: the clip cannot be read at all.
        OutputExists, OutputNotWritable: about `output`. UsageError: it is the clip itself.
        BackendUnavailable: see `Bundle.encoder`.
    """
    manifest = bundle.manifest
    _require_uint8(manifest)
    if Path(output).suffix.lower() != ".npz":
        raise UsageError(f"{output}: tokens are stored as .npz. Name it so.")
    require_not_read(output, source.path)
    watch = _Stopwatch()
    with write_beside(output, force) as temporary:
        results: list[Latents] = []
        with (
            _open(source, manifest) as clip,
            bundle.encoder(backend, precision=precision) as encoder,
        ):
            for frame in _frames(clip, progress):
                results += watch(encoder.push, frame.pixels, stamp=_stamp(frame))
            results += watch(encoder.finish)
            fps = clip.fps
        tokens = _token_file(manifest, manifest.graph("encoder", precision), results, fps)
        with temporary.open("wb") as file:
            tokens.write_to(file)
    assert tokens.meta is not None
    frames = tokens.meta.frames
    pixels = frames * manifest.height * manifest.width
    return Encoded(
        frames=frames,
        latents=tokens.latents,
        tokens=sum(result.values.size for result in results),
        bits_per_pixel=bits_per_latent(manifest) * tokens.latents / pixels,
        seconds=watch.seconds,
        lost=clip.report.lost,
        doubts=clip.doubts,
    )


def _token_file(
    manifest: Manifest, graph: GraphSpec, results: list[Latents], fps: float
) -> TokenFile:
    def joined(name: str) -> NDArray[Any] | None:
        parts = [getattr(result, name) for result in results]
        return None if parts[0] is None else np.concatenate(parts)

    meta = TokenMeta.of(
        manifest.model,
        weights_sha256=manifest.weights.sha256,
        precision=graph.precision,
        height=manifest.height,
        width=manifest.width,
        fps=fps,
        frames=sum(result.frames_real for result in results),
        toolkit_version=__version__,
    )
    times = np.concatenate([result.capture_time_ns for result in results])
    return TokenFile(
        tokens=joined("tokens"),
        mean=joined("mean"),
        logvar=joined("logvar"),
        time_ns=times,
        meta=meta,
    )


def decode_file(
    bundle: Bundle,
    tokens: StrPath,
    output: StrPath,
    *,
    fps: float | None = None,
    backend: str = "auto",
    precision: str | None = None,
    force: bool = False,
    progress: Progress = no_progress,
) -> Decoded:
    """Decode a token file to a clip.

    Args:
        bundle: of the tokenizer that wrote the tokens.
        tokens: `.npz` of `encode_clip`, or a bare `.npy` of int32 tokens [t, h, w].
        output: `.mp4` or `.mkv`.
        fps: of the clip; None: what the token file says, or 30 where it says nothing.

    Raises:
        TokenFileError: not a token file, or of another tokenizer.
        UsageError: `output` is the token file itself.
    """
    manifest = bundle.manifest
    _require_uint8(manifest)
    require_not_read(output, tokens)
    file = TokenFile.load(tokens)
    file.check_fits(manifest)
    values = file.tokens if file.tokens is not None else file.mean
    assert values is not None
    recorded = file.meta.fps if file.meta is not None else 0
    rate = fps if fps is not None else recorded or 30.0
    watch = _Stopwatch()
    size = (manifest.height, manifest.width)
    with (
        bundle.decoder(backend, precision=precision) as decoder,
        ClipWriter(output, fps=rate, size=size, force=force) as clip,
    ):
        total = file.meta.frames if file.meta else decoder.framing.first_frame(len(values))
        for picture in _pictures(decoder, values, total, watch):
            clip.write(picture.pixels)
            progress(clip.frames_written, total)
    return Decoded(clip.frames_written, watch.seconds, rate)


def _pictures(
    decoder: StreamDecoder, values: NDArray[Any], frames: int, watch: _Stopwatch
) -> Iterator[Picture]:
    """Decode latent by latent, so that memory does not grow with the clip."""
    for i in range(len(values)):
        real = len(decoder.framing.share(i, frames))
        yield from watch(decoder.push_values, values[i : i + 1], frames_real=real)
    yield from watch(decoder.finish)


def reconstruct_clip(
    bundle: Bundle,
    source: ClipSource,
    output: StrPath,
    *,
    picture: StrPath | None = None,
    backend: str = "auto",
    precision: str | None = None,
    force: bool = False,
    progress: Progress = no_progress,
) -> Reconstructed:
    """Encode and decode a clip; write it and its reconstruction side by side, and a contact sheet.

    Args:
        output: the side-by-side clip, `.mp4` or `.mkv`.
        picture: the contact sheet, `.png`; None: beside `output`.

    Raises:
        As `encode_clip`. UsageError: as `sheet_place`.
    """
    manifest = bundle.manifest
    _require_uint8(manifest)
    sheet = sheet_place(source.path, output, picture)
    encode_watch, decode_watch = _Stopwatch(), _Stopwatch()
    quality, samples = Quality(), Samples()
    waiting: deque[ClipFrame] = deque()
    latents = 0
    with write_beside(sheet, force) as temporary_sheet:
        with (
            _timed(_open(source, manifest)) as clip,
            bundle.encoder(backend, precision=precision) as encoder,
            bundle.decoder(backend, precision=precision) as decoder,
            ClipWriter(output, fps=clip.fps, size=_wide(manifest), force=force) as writer,
        ):

            def show(pictures: Iterable[Picture]) -> None:
                for decoded in pictures:
                    frame = waiting.popleft()
                    quality.add(frame.pixels, decoded.pixels)
                    samples.offer(decoded.frame, frame.time_ns, frame.pixels, decoded.pixels)
                    writer.write(side_by_side(frame.pixels, decoded.pixels))

            def decode(results: list[Latents]) -> None:
                nonlocal latents
                for result in results:
                    latents += len(result)
                    show(decode_watch(decoder.push, result))

            for frame in _frames(clip, progress):
                waiting.append(frame)
                decode(encode_watch(encoder.push, frame.pixels, stamp=_stamp(frame)))
            decode(encode_watch(encoder.finish))
            show(decode_watch(decoder.finish))
            fps, backend_used = clip.fps, str(encoder.backend)
        title = (
            f"{Path(source.path).name}, {manifest.model.variant}: "
            f"PSNR {quality.psnr_db:.2f} dB, SSIM {quality.ssim:.3f}"
        )
        contact_sheet(temporary_sheet, samples.columns(), title, force=True)
    assert quality.worst is not None
    bits = bits_per_latent(manifest) * latents
    frames = quality.frames
    per_second = latents * fps / frames
    height, width = manifest.grid
    return Reconstructed(
        frames=frames,
        fps=fps,
        psnr_db=quality.psnr_db,
        ssim=quality.ssim,
        worst_frame=quality.worst.index,
        worst_psnr_db=quality.worst.psnr_db,
        tokens_per_second=height * width * per_second,
        bits_per_second=bits * fps / frames,
        bits_per_pixel=bits / (frames * manifest.height * manifest.width),
        encode_fps=frames / encode_watch.seconds,
        decode_fps=frames / decode_watch.seconds,
        lost=clip.report.lost,
        doubts=clip.doubts,
        backend=backend_used,
    )


def _wide(manifest: Manifest) -> tuple[int, int]:
    blank = np.zeros((manifest.height, manifest.width, 3), dtype=np.uint8)
    height, width, _ = side_by_side(blank, blank).shape
    return height, width
