"""Whole clips through a bundle: what is written is what the bundle gives frame by frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from clips import cut, make_clip, make_two_sizes, picture
from fake_step import fake_manifest
from numpy.typing import NDArray
from PIL import Image

from vidtok_edge.errors import ClipError, OutputExists, TokenFileError, UsageError, VidTokEdgeError
from vidtok_edge.runtime import Bundle, Latents
from vidtok_edge.runtime.clips.quality import Quality
from vidtok_edge.runtime.clips.reading import ClipReader
from vidtok_edge.runtime.clips.token_files import TokenFile
from vidtok_edge.runtime.clips.transcoding import (
    ClipSource,
    bits_per_latent,
    decode_file,
    encode_clip,
    reconstruct_clip,
)

SIZE = (16, 16)


@pytest.fixture
def bundle(tiny: Path) -> Bundle:
    return Bundle.load(tiny)


def frames_of(clip: Path) -> list[NDArray[np.uint8]]:
    with ClipReader(clip, size=SIZE) as reader:
        return [frame.pixels for frame in reader]


def latents_of(bundle: Bundle, clip: Path) -> list[Latents]:
    with bundle.encoder() as encoder:
        pushed = [latents for pixels in frames_of(clip) for latents in encoder.push(pixels)]
        return pushed + encoder.finish()


def pictures_of(bundle: Bundle, latents: list[Latents]) -> list[NDArray[np.uint8]]:
    with bundle.decoder() as decoder:
        pictures = [picture for each in latents for picture in decoder.push(each)]
        return [picture.pixels for picture in pictures + decoder.finish()]


@pytest.mark.parametrize("frames", [1, 4, 5, 11])
def test_a_clip_to_tokens_and_back(bundle: Bundle, tmp_path: Path, frames: int) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames, fps=25)
    told: list[tuple[int, int | None]] = []
    encoded = encode_clip(
        bundle,
        ClipSource(clip),
        tmp_path / "tokens.npz",
        progress=lambda done, total: told.append((done, total)),
    )
    expected = latents_of(bundle, clip)
    tokens = TokenFile.load(tmp_path / "tokens.npz")
    assert tokens.tokens is not None and tokens.time_ns is not None and tokens.meta is not None
    assert np.array_equal(tokens.tokens, np.concatenate([each.tokens for each in expected]))
    # Latent i stands for the frames up to 4 i: its time is that of the last of them.
    last = [min(4 * i, frames - 1) for i in range(len(expected))]
    assert tokens.time_ns.tolist() == [number * 40_000_000 for number in last]
    assert (tokens.meta.frames, tokens.meta.fps) == (frames, 25)
    assert told == [(number, frames) for number in range(1, frames + 1)]

    assert (encoded.frames, encoded.latents, encoded.lost) == (frames, len(expected), None)
    assert encoded.tokens == tokens.tokens.size
    bits = 15 * encoded.tokens  # of 8 to the power of 5
    assert bits_per_latent(bundle.manifest) * encoded.latents == pytest.approx(bits)
    assert encoded.bits_per_pixel == pytest.approx(bits / (frames * 16 * 16))

    decoded = decode_file(bundle, tmp_path / "tokens.npz", tmp_path / "back.mkv")
    assert (decoded.frames, decoded.fps) == (frames, 25)
    back, straight = frames_of(tmp_path / "back.mkv"), pictures_of(bundle, expected)
    assert len(back) == len(straight) == frames
    assert max(_mean_difference(a, b) for a, b in zip(back, straight, strict=True)) < 6


def _mean_difference(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """In levels; the clip was compressed."""
    return float(np.abs(a.astype(float) - b).mean())


def test_a_reconstruction_is_measured_against_its_source(bundle: Bundle, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", 11, fps=25)
    done = reconstruct_clip(bundle, ClipSource(clip), tmp_path / "both.mp4")
    quality, latents = Quality(), latents_of(bundle, clip)
    for pair in zip(frames_of(clip), pictures_of(bundle, latents), strict=True):
        quality.add(*pair)
    assert quality.worst is not None
    assert (done.frames, done.fps, done.lost) == (11, 25, None)
    assert (done.psnr_db, done.ssim) == pytest.approx((quality.psnr_db, quality.ssim))
    assert (done.worst_frame, done.worst_psnr_db) == (quality.worst.index, quality.worst.psnr_db)
    count = sum(len(each) for each in latents)
    assert done.tokens_per_second == pytest.approx(count * 2 * 2 * 25 / 11)
    assert done.bits_per_second == pytest.approx(15 * done.tokens_per_second)
    assert done.bits_per_pixel == pytest.approx(15 * count * 2 * 2 / (11 * 16 * 16))
    with ClipReader(tmp_path / "both.mp4", size=SIZE) as both:
        height, width = both.native_size
        assert width >= 2 * 16 and height >= 16
        assert sum(1 for _ in both) == 11
    assert (tmp_path / "both.png").read_bytes().startswith(b"\x89PNG")


def test_a_time_of_the_tokens_is_one_of_the_clip(bundle: Bundle, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "vfr.mkv", 5, times_ms=[0, 10, 50, 60, 160])
    encode_clip(bundle, ClipSource(clip, rate="every-frame"), tmp_path / "tokens.npz")
    times = TokenFile.load(tmp_path / "tokens.npz").time_ns
    assert times is not None and times.tolist() == [0, 160_000_000]


def test_what_a_damaged_clip_still_holds_is_encoded(bundle: Bundle, tmp_path: Path) -> None:
    clip = cut(make_clip(tmp_path / "clip.mp4", 60, options={"movflags": "faststart"}), 0.7)
    encoded = encode_clip(bundle, ClipSource(clip), tmp_path / "tokens.npz")
    meta = TokenFile.load(tmp_path / "tokens.npz").meta
    assert meta is not None and encoded.lost is not None
    assert 0 < meta.frames == encoded.frames < 60
    done = reconstruct_clip(bundle, ClipSource(clip), tmp_path / "both.mp4")
    assert (done.frames, done.lost) == (encoded.frames, encoded.lost)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(9):
        Image.fromarray(picture(number, SIZE)).save(folder / f"img{number}.png")
    return folder


def test_a_folder_of_images_is_encoded_as_a_clip_is(
    bundle: Bundle, tmp_path: Path, images: Path
) -> None:
    source = ClipSource(images, rate=25)
    encoded = encode_clip(bundle, source, tmp_path / "tokens.npz")
    with bundle.encoder() as encoder:
        expected = [each for n in range(9) for each in encoder.push(picture(n, SIZE))]
        expected += encoder.finish()
    tokens = TokenFile.load(tmp_path / "tokens.npz")
    assert tokens.meta is not None and tokens.tokens is not None and tokens.time_ns is not None
    assert np.array_equal(tokens.tokens, np.concatenate([each.tokens for each in expected]))
    assert (tokens.meta.frames, tokens.meta.fps) == (9, 25)
    assert tokens.time_ns.tolist() == [0, 160_000_000, 320_000_000]
    assert (encoded.lost, encoded.doubts) == (None, ())
    done = reconstruct_clip(bundle, source, tmp_path / "both.mp4")
    assert (done.frames, done.fps, done.lost) == (9, 25, None)
    for clip in (ClipSource(images), ClipSource(images, rate=25, stream=0)):
        with pytest.raises(UsageError, match=r"Give the rate as a number \(--fps N\)"):
            encode_clip(bundle, clip, tmp_path / "other.npz")


@pytest.mark.parametrize(
    ("output", "picture"),
    [
        ("images/img1.mp4", None),
        ("both.mp4", "images/new.png"),
        ("both.mp4", "link/img1.png"),
        ("both.mp4", "images/img9.png"),
        ("both.mp4", "far.png"),
    ],
)
def test_the_picture_is_not_put_among_the_images_that_are_read(
    bundle: Bundle, tmp_path: Path, images: Path, output: str, picture: str | None
) -> None:
    (tmp_path / "link").symlink_to("images")
    (images / "img8.png").rename(tmp_path / "far.png")
    (images / "img9.png").symlink_to("../far.png")
    before = {path: path.read_bytes() for path in images.iterdir()}
    with pytest.raises(UsageError, match=r"one of the images of .*; name it elsewhere with --pic"):
        reconstruct_clip(
            bundle,
            ClipSource(images, rate=25),
            tmp_path / output,
            picture=None if picture is None else tmp_path / picture,
            force=True,
        )
    assert {path: path.read_bytes() for path in images.iterdir()} == before


def test_a_clip_that_is_written_beside_images_has_its_picture_elsewhere(
    bundle: Bundle, tmp_path: Path, images: Path
) -> None:
    sheet = tmp_path / "sheet.png"
    done = reconstruct_clip(bundle, ClipSource(images, rate=25), images / "img1.mp4", picture=sheet)
    assert done.frames == 9 and sheet.is_file() and (images / "img1.mp4").is_file()


def test_images_before_one_that_is_damaged_are_encoded(
    bundle: Bundle, tmp_path: Path, images: Path
) -> None:
    cut(images / "img6.png", 0.5)
    done = encode_clip(bundle, ClipSource(images, rate=25), tmp_path / "tokens.npz")
    assert done.frames == 6 and done.lost is not None
    assert done.lost.startswith("img6.png: it cannot be read") and "3 images were" in done.lost
    cut(images / "img0.png", 0.5)
    for work in (
        lambda: encode_clip(bundle, ClipSource(images, rate=25), tmp_path / "new.npz"),
        lambda: reconstruct_clip(bundle, ClipSource(images, rate=25), tmp_path / "new.mp4"),
    ):
        with pytest.raises(ClipError, match=r"No frame of .* could be read. img0.png"):
            work()
    assert {path.name for path in tmp_path.iterdir()} == {"bundle", "images", "tokens.npz"}


def test_what_comes_before_a_change_of_size_is_encoded(bundle: Bundle, tmp_path: Path) -> None:
    clip = make_two_sizes(tmp_path / "clip.mkv", (64, 96), (48, 64), each=5)
    done = encode_clip(bundle, ClipSource(clip), tmp_path / "tokens.npz")
    assert done.frames == 5 and done.lost is not None and "frame 5 is 48x64" in done.lost


@pytest.mark.parametrize("fps", [None, 12.5])
def test_bare_tokens_have_the_frame_rate_that_is_asked_for(
    bundle: Bundle, tmp_path: Path, fps: float | None
) -> None:
    np.save(tmp_path / "tokens.npy", np.zeros((3, 2, 2), np.int32))
    decoded = decode_file(bundle, tmp_path / "tokens.npy", tmp_path / "clip.mp4", fps=fps)
    assert (decoded.frames, decoded.fps) == (9, fps or 30)


@pytest.mark.parametrize(
    ("work", "error", "message"),
    [
        (
            lambda b, p: encode_clip(b, ClipSource(p / "clip.mp4"), p / "tokens.npy"),
            UsageError,
            "stored as .npz",
        ),
        (
            lambda b, p: encode_clip(b, ClipSource(p / "no.mp4"), p / "new.npz"),
            ClipError,
            "no.mp4",
        ),
        (
            lambda b, p: encode_clip(b, ClipSource(p / "clip.mp4"), p / "there.npz"),
            OutputExists,
            "there.npz",
        ),
        (
            lambda b, p: decode_file(b, p / "clip.mp4", p / "new.mp4"),
            TokenFileError,
            "clip.mp4",
        ),
        (
            lambda b, p: decode_file(b, p / "large.npy", p / "new.mp4"),
            TokenFileError,
            "32768",
        ),
        (
            lambda b, p: reconstruct_clip(b, ClipSource(p / "clip.mp4"), p / "there.mp4"),
            OutputExists,
            "there.mp4",
        ),
        (
            lambda b, p: reconstruct_clip(b, ClipSource(p / "no.mp4"), p / "new.mp4"),
            ClipError,
            "no.mp4",
        ),
        (
            lambda b, p: reconstruct_clip(
                b, ClipSource(p / "clip.mp4"), p / "clip.mp4", force=True
            ),
            UsageError,
            "clip.mp4 is read here",
        ),
        (
            lambda b, p: reconstruct_clip(
                b, ClipSource(p / "clip.mp4"), p / "link.mp4", force=True
            ),
            UsageError,
            "link.mp4 is read here",
        ),
        (
            lambda b, p: reconstruct_clip(b, ClipSource(p / "clip.mp4"), p),
            UsageError,
            "is a folder. Name a file",
        ),
        (
            lambda b, p: reconstruct_clip(b, ClipSource(p / "clip.mp4"), "."),
            UsageError,
            "is a folder. Name a file",
        ),
        (
            lambda b, p: encode_clip(b, ClipSource(p / "there.npz"), p / "there.npz", force=True),
            UsageError,
            "there.npz is read here",
        ),
        (
            lambda b, p: decode_file(b, p / "link.mp4", p / "clip.mp4", force=True),
            UsageError,
            "clip.mp4 is read here",
        ),
        (
            lambda b, p: reconstruct_clip(
                b, ClipSource(p / "clip.mp4"), p / "new.mp4", picture=p / "new.mp4", force=True
            ),
            UsageError,
            "stored as .png",
        ),
        (
            lambda b, p: encode_clip(b, ClipSource(p / f"{'n' * 300}.mp4"), p / "new.npz"),
            ClipError,
            "File name too long",
        ),
        (
            lambda b, p: decode_file(b, p / "long.npy", p / "new.mp4"),
            TokenFileError,
            r"tokens is int64 \(1, 2, 2\); allowed: int32 \[t, h, w\]. Save it so, as with numpy",
        ),
        (
            lambda b, p: decode_file(b, p / "below.npy", p / "new.mp4"),
            TokenFileError,
            "from -1 to -1; allowed: 0 or more",
        ),
    ],
)
def test_what_cannot_be_done_leaves_the_folder_as_it_was(
    bundle: Bundle,
    tmp_path: Path,
    work: Callable[[Bundle, Path], object],
    error: type[VidTokEdgeError],
    message: str,
) -> None:
    make_clip(tmp_path / "clip.mp4", 5)
    for name in ("there.npz", "there.mp4"):
        (tmp_path / name).write_bytes(b"kept")
    (tmp_path / "link.mp4").symlink_to("clip.mp4")
    np.save(tmp_path / "large.npy", np.full((1, 2, 2), 32768, np.int32))
    np.save(tmp_path / "below.npy", np.full((1, 2, 2), -1, np.int32))
    np.save(tmp_path / "long.npy", np.zeros((1, 2, 2), np.int64))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    with pytest.raises(error, match=message):
        work(bundle, tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_a_bundle_of_floats_takes_no_clips(bundle: Bundle, tmp_path: Path) -> None:
    floats = Bundle(bundle.path, replace(fake_manifest(), io="float"))
    clip = make_clip(tmp_path / "clip.mp4", 5)
    for work in (
        lambda: encode_clip(floats, ClipSource(clip), tmp_path / "a.npz"),
        lambda: decode_file(floats, tmp_path / "a.npz", tmp_path / "a.mp4"),
        lambda: reconstruct_clip(floats, ClipSource(clip), tmp_path / "b.mp4"),
    ):
        with pytest.raises(UsageError, match="--io uint8"):
            work()
