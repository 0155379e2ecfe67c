"""Make the two hard clips that ship: fast pans, small text, darkness and noise, with cuts between.

    python benchmarks/hard_clips.py FOLDER

INT8 is calibrated on `clip_hard.mp4`, and measured on `clip_hard_unseen.mp4`, which has the same
kinds of frames from another seed. Everything in them is made from random numbers and Pillow's own
font.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

SIZE = 256
Pixels = NDArray[np.float64]  # [H, W, 3], 0 to 255
Frames = list[Pixels]


def texture(random: np.random.Generator, height: int, width: int) -> Pixels:
    """Octaves of noise and hard-edged shapes."""
    total = np.zeros((height, width, 3))
    for octave in range(2, 8):
        grid = random.uniform(-1, 1, (2**octave, 2**octave, 3))
        image = [
            Image.fromarray(grid[:, :, c].astype(np.float32)).resize((width, height), 3)
            for c in range(3)
        ]
        total += np.stack([np.asarray(part) for part in image], axis=-1) * 0.75**octave
    picture = Image.fromarray((128 + 160 * total).clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    for _ in range(width // 12):
        x, y = random.integers(0, width), random.integers(0, height)
        w, h = random.integers(4, 60, 2)
        colour = tuple(int(v) for v in random.integers(0, 256, 3))
        shape = draw.rectangle if random.random() < 0.5 else draw.ellipse
        shape([x, y, x + w, y + h], fill=colour)
    return np.asarray(picture, np.float64)


def pan(random: np.random.Generator, n: int) -> Frames:
    """28 pixels a frame, with the blur of half an exposure."""
    wide = texture(random, SIZE, SIZE + 28 * n)
    frames = []
    for i in range(n):
        shifts = [wide[:, 28 * i + k : 28 * i + k + SIZE] for k in range(0, 14, 2)]
        frames.append(np.mean(shifts, axis=0))
    return frames


def text(random: np.random.Generator, n: int) -> Frames:
    """Lines of small letters, dark on light and light on dark, that scroll."""
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,;:/-()    "
    page = Image.new("RGB", (SIZE, SIZE + 8 * n), (240, 240, 236))
    draw = ImageDraw.Draw(page)
    y = 0
    while y < page.height:
        size = int(random.integers(8, 16))
        if random.random() < 0.4:
            draw.rectangle([0, y, SIZE, y + size + 4], fill=(18, 20, 30))
            colour = (230, 235, 120)
        else:
            colour = (12, 12, 40)
        line = "".join(random.choice(list(letters), 60))
        draw.text((2, y), line, fill=colour, font=ImageFont.load_default(size))
        y += size + 5
    return [np.asarray(page, np.float64)[4 * i : 4 * i + SIZE] for i in range(n)]


def darkness(random: np.random.Generator, n: int) -> Frames:
    """A twentieth of the light, the noise of a sensor, and one lamp that passes."""
    scene = texture(random, SIZE + n, SIZE + 3 * n) * 0.06
    y, x = np.mgrid[:SIZE, :SIZE]
    frames = []
    for i in range(n):
        frame = scene[i : i + SIZE, 3 * i : 3 * i + SIZE] + random.normal(0, 3, (SIZE, SIZE, 3))
        lamp = np.exp(-((x - 30 - 20 * i) ** 2 + (y - 90) ** 2) / 500)
        frames.append(frame + 200 * lamp[:, :, None])
    return frames


def noise(random: np.random.Generator, n: int) -> Frames:
    """Strong colours under noise, with an exposure that jumps."""
    scene = texture(random, SIZE + 2 * n, SIZE + 2 * n)
    scene = (scene - 128) * 2.2 + 128
    frames = []
    for i in range(n):
        gain = 1.5 if i % 4 == 2 else 1.0
        part = scene[2 * i : 2 * i + SIZE, 2 * i : 2 * i + SIZE] * gain
        grain = random.normal(0, 45, (SIZE, SIZE, 3))
        soft = Image.fromarray((grain + 128).clip(0, 255).astype(np.uint8))
        grain = np.asarray(soft.filter(ImageFilter.BoxBlur(0.4)), np.float64) - 128
        frames.append(part + grain)
    return frames


KINDS: tuple[Callable[[np.random.Generator, int], Frames], ...] = (pan, text, darkness, noise)


def frames_of(seed: int, each: int) -> NDArray[np.uint8]:
    """uint8 [4 * each + 1, H, W, 3]: every kind in turn, and the first frame of a fifth scene."""
    random = np.random.default_rng(seed)
    found = [frame for kind in KINDS for frame in kind(random, each)]
    found += pan(random, 1)
    return np.stack(found).clip(0, 255).round().astype(np.uint8)


def write(path: Path, frames: NDArray[np.uint8]) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", 30, options={"crf": "20", "preset": "slow"})
        stream.width, stream.height, stream.pix_fmt = SIZE, SIZE, "yuv420p"
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode())


def main() -> None:
    folder = Path(sys.argv[1])
    write(folder / "clip_hard.mp4", frames_of(1, 8))
    write(folder / "clip_hard_unseen.mp4", frames_of(2, 5))


if __name__ == "__main__":
    main()
