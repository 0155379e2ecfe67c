"""What the embedded tokenizer learns from: parts of clips, and photographs seen by moving cameras.

Every batch is drawn anew from whole files that lie in memory, on the device that trains.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from picture_files import Pixels, UnreadableFile, read_clip, read_picture
from torch import Tensor

__all__ = ["KINDS", "SHORTEST", "DataError", "MovingPictures", "Window", "read_folder"]

KINDS = {"film": 0.20, "natural": 0.36, "robot": 0.24, "photo": 0.20}
"""Folders of data, with the share of the batches that each makes where all are there."""

SHORTEST = 9
"""Frames of the shortest clip that is taken."""

_CUTS = 0.1
"""Share of the clips that are cut to another scene."""

_CLIPS, _PHOTOS = (".mp4", ".mkv", ".webm", ".mov"), (".jpg", ".jpeg", ".png", ".webp")


class DataError(Exception):
    """Data that cannot be trained on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What a batch is made of."""

    frames: int
    height: int
    width: int
    share: float
    """Of the steps."""
    batch: float = 1.0
    """How many clips, for each of the first window's."""

    def __str__(self) -> str:
        return f"{self.frames}x{self.height}x{self.width}"


def read_folder(
    folder: Path, *, skip_damaged: bool = False
) -> tuple[dict[str, list[Pixels]], list[str]]:
    """The clips [T, H, W, 3] and photographs [H, W, 3] of a folder by kind, and what was left out.

    Raises:
        DataError: no such folder, nothing to read in it, or, unless `skip_damaged`, files that
            cannot be read or are shorter than `SHORTEST`.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder. training/README.md says how to gather data.")
    jobs = [
        (kind, path)
        for kind in KINDS
        for path in sorted((folder / kind).glob("*"))
        if path.suffix.lower() in (_PHOTOS if kind == "photo" else _CLIPS)
    ]
    if not jobs:
        raise DataError(
            f"{folder} holds no clips ({', '.join(_CLIPS)}) or photographs ({', '.join(_PHOTOS)}) "
            f"in folders named {', '.join(KINDS)}. A tar file must be unpacked first."
        )
    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        read = list(pool.map(_read, jobs))
    problems = [problem for _, problem in read if problem]
    if problems and not skip_damaged:
        shown = "\n".join(problems[:10]) + ("\n..." if len(problems) > 10 else "")
        raise DataError(
            f"{len(problems)} of {len(jobs)} files cannot be trained on:\n{shown}\n"
            "Bring them back, or leave them out with --skip-damaged."
        )
    found: dict[str, list[Pixels]] = {}
    for (kind, _), (pixels, _) in zip(jobs, read, strict=True):
        if pixels is not None:
            found.setdefault(kind, []).append(pixels)
    if not found:
        raise DataError(f"None of the {len(jobs)} files of {folder} can be read: {problems[0]}")
    return found, problems


def _read(job: tuple[str, Path]) -> tuple[Pixels | None, str]:
    """The pixels, or why there are none."""
    kind, path = job
    try:
        if kind == "photo":
            return read_picture(path), ""
        clip = read_clip(path)
    except UnreadableFile as error:
        return None, str(error)
    if len(clip) < SHORTEST:
        return None, f"{path} has {len(clip)} frames; {SHORTEST} are needed."
    return clip, ""


class MovingPictures:
    """All that is trained on, and batches of it.

    Args:
        pixels: as `read_folder` gives them.
        windows: that will be asked for.
        device: where they lie, and are made.

    Raises:
        DataError: no clip of a kind is as large as half a window, or as long.
    """

    def __init__(
        self,
        pixels: Mapping[str, Sequence[Pixels]],
        windows: Sequence[Window],
        device: torch.device | str = "cpu",
    ) -> None:
        self._device = torch.device(device)
        self._videos: dict[str, list[Tensor]] = {}
        self._photos: list[list[Tensor]] = []
        for kind, files in pixels.items():
            tensors = [torch.tensor(file, device=self._device) for file in files]
            if kind == "photo":
                self._photos = [_pyramid(photo) for photo in tensors]
            else:
                self._videos[kind] = tensors
                for window in windows:
                    self._fitting(kind, window)
        self._kinds = list(pixels)
        self.frames = {kind: sum(map(len, clips)) for kind, clips in self._videos.items()}
        self.photos = len(self._photos)

    def batch(self, random: Random, size: int, window: Window) -> Tensor:
        """float32 [size, 3, T, H, W] in [-1, 1], whose memory is [size, T, H, W, 3]."""
        clips = [self._clip(random, window) for _ in range(size)]
        return torch.stack(clips).permute(0, 4, 1, 2, 3)

    def _clip(self, random: Random, window: Window) -> Tensor:
        """[T, H, W, 3] in [-1, 1]: a scene, or one cut to another."""
        scene = self._scene(random, window)
        if random.random() >= _CUTS:
            return scene
        at = random.randint(1, window.frames - 1)
        return torch.cat([scene[:at], self._scene(random, window)[at:]])

    def _scene(self, random: Random, window: Window) -> Tensor:
        """[T, H, W, 3] in [-1, 1]."""
        [kind] = random.choices(self._kinds, [KINDS[kind] for kind in self._kinds])
        scene = self._photo(random, window) if kind == "photo" else self._part(random, kind, window)
        turned = [3] if random.random() < 0.5 else []  # left and right
        turned += [2] if random.random() < 0.12 else []  # up and down
        turned += [0] if random.random() < 0.3 else []  # time
        scene = scene.flip(turned) if turned else scene
        return self._colours(random, scene.permute(0, 2, 3, 1))

    def _tensor(self, values: NDArray[np.float64]) -> Tensor:
        tensor = torch.from_numpy(values.astype(np.float32))
        if self._device.type == "cuda":
            return tensor.pin_memory().to(self._device, non_blocking=True)
        return tensor

    # -- clips

    def _fitting(self, kind: str, window: Window) -> list[Tensor]:
        """The clips that hold the window, or half of it, of which a part is enlarged."""
        for least in (window.height, window.width), (window.height // 2, window.width // 2):
            found = [
                clip
                for clip in self._videos[kind]
                if len(clip) >= window.frames
                and clip.shape[1] >= least[0]
                and clip.shape[2] >= least[1]
            ]
            if found:
                return found
        raise DataError(
            f"No clip of {kind!r} holds a window of {window}: it needs {window.frames} frames of "
            f"at least {window.height // 2}x{window.width // 2}."
        )

    def _part(self, random: Random, kind: str, window: Window) -> Tensor:
        """[T, 3, H, W] in [-1, 1]: a part of a clip, at some speed and size."""
        t, h, w = window.frames, window.height, window.width
        clips = self._fitting(kind, window)
        [clip] = random.choices(clips, [len(clip) ** 0.5 for clip in clips])
        n, rows, columns = clip.shape[:3]
        # how often a frame is shown, and every which frame; the last one stands still
        speeds = [(1, 1), (1, 2), (1, 3), (2, 1), (t, 1)]
        [(repeat, step)] = random.choices(speeds, [68, 18, 5, 6, 3])
        count = -(-t // repeat)
        step = min(step, (n - 1) // max(1, count - 1))
        first = random.randint(0, n - 1 - step * (count - 1))
        scale = 1.0 if random.random() < 0.35 else _log_uniform(random, 0.85, 2.0)
        scale = min(scale, rows / h, columns / w)
        high, wide = max(8, round(h * scale)), max(8, round(w * scale))
        y, x = random.randint(0, rows - high), random.randint(0, columns - wide)
        last = first + step * (count - 1)
        part = clip[first : last + 1 : step, y : y + high, x : x + wide]
        made = part.permute(0, 3, 1, 2).float() / 127.5 - 1
        if (high, wide) != (h, w):
            made = F.interpolate(made, (h, w), mode="bilinear", antialias=scale > 1)
        return made.repeat_interleave(repeat, 0)[:t] if repeat > 1 else made

    # -- photographs

    def _photo(self, random: Random, window: Window) -> Tensor:
        """[T, 3, H, W] in [-1, 1]: a photograph, in 2 of 5 cases with another passing in front."""
        speed = random.choice([0.0, 0.3, 0.8, 1.5, 3.0, 6.0])
        back = self._filmed(random, window, speed)
        if random.random() > 0.4:
            return back
        front = self._filmed(random, window, random.choice([0.0, 0.5]))
        return back + (front - back) * self._mask(random, window)

    def _filmed(self, random: Random, window: Window, speed: float) -> Tensor:
        """[T, 3, H, W]: a photograph seen by a camera that moves `speed` pixels a frame."""
        t, h, w = window.frames, window.height, window.width
        zoom = _log_uniform(random, 0.7, 3.5)  # pixels of the photograph for one of the frame
        levels = random.choice(self._photos)
        level = min(len(levels) - 1, max(0, math.floor(math.log2(zoom) + 0.3)))
        photo = levels[level]
        rows, columns = photo.shape[1:]
        zoom = min(zoom / 2**level, 0.9 * rows / h, 0.9 * columns / w)
        blur = 2 if random.random() < 0.5 and speed > 2 else 1  # exposures of a frame
        k = np.arange(t * blur) / blur
        dx, dy = (_path(random, k, speed) * zoom for _ in range(2))
        growth = np.exp(random.gauss(0, 0.012) * k * (random.random() < 0.6))
        angle = random.gauss(0, 0.02) * k * (random.random() < 0.4) + random.gauss(0, 0.15)
        cx, cy = random.uniform(0.3, 0.7) * columns, random.uniform(0.3, 0.7) * rows
        cos, sin = np.cos(angle) * zoom * growth, np.sin(angle) * zoom * growth
        to_right = [cos * w / columns, -sin * h / columns, (cx + dx - columns / 2) * 2 / columns]
        to_bottom = [sin * w / rows, cos * h / rows, (cy + dy - rows / 2) * 2 / rows]
        theta = self._tensor(np.stack(to_right + to_bottom, axis=1).reshape(-1, 2, 3))
        made = F.grid_sample(
            photo.float()[None].expand(len(k), -1, -1, -1),
            F.affine_grid(theta, [len(k), 3, h, w], align_corners=False),
            mode="bilinear",
            padding_mode="reflection",
            align_corners=False,
        )
        return made.reshape(t, blur, 3, h, w).mean(1) if blur > 1 else made

    def _mask(self, random: Random, window: Window) -> Tensor:
        """[T, 1, H, W] in [0, 1]: an ellipse, or nearly a box, that passes and turns."""
        h, w = window.height, window.width
        k = np.arange(window.frames)
        cy = random.uniform(0, h) + random.gauss(0, 2) * k
        cx = random.uniform(0, w) + random.gauss(0, 3) * k
        ry, rx = random.uniform(0.06, 0.35) * h, random.uniform(0.06, 0.35) * w
        turn = random.uniform(0, math.pi) + random.gauss(0, 0.05) * k
        power = random.choice([2, 8])
        numbers = self._tensor(np.stack([cy, cx, np.cos(turn), np.sin(turn)]))
        y0, x0, c, s = numbers[:, :, None, None]
        v = torch.arange(h, device=self._device)[None, :, None] - y0
        u = torch.arange(w, device=self._device)[None, None, :] - x0
        a, b = (c * u + s * v) / rx, (c * v - s * u) / ry
        inside = (a.abs() ** power + b.abs() ** power).clamp(max=1e4)
        return torch.sigmoid((1 - inside) * min(rx, ry) / power)[:, None]

    # -- colours

    def _colours(self, random: Random, clip: Tensor) -> Tensor:
        """[T, H, W, 3] in [-1, 1] with channels, gamma, saturation, gain, exposure changed."""
        order = [0, 1, 2]
        if random.random() < 0.2:
            random.shuffle(order)
        x = ((clip + 1) / 2).clamp(1e-4, 1)[..., order]
        gains, saturation = [1.0, 1.0, 1.0], 1.0
        if random.random() < 0.6:
            gain = math.exp(random.gauss(0, 0.12))
            gains = [gain * math.exp(random.gauss(0, 0.06)) for _ in order]
            x = x ** math.exp(random.gauss(0, 0.2))
            saturation = min(1.6, max(0.0, random.gauss(1, 0.3)))
        drift = random.gauss(0, 0.4) if random.random() < 0.15 else 0.0
        exposure = np.exp(np.linspace(0, drift, len(clip)))[:, None, None, None]
        grey = x.mean(3, keepdim=True)
        x = (grey + (x - grey) * saturation) * self._tensor(exposure * np.array(gains))
        return x.clamp(0, 1) * 2 - 1


def _pyramid(photo: Tensor) -> list[Tensor]:
    """float16 [3, H, W] in [-1, 1], whole, by half and by a quarter."""
    level = photo.permute(2, 0, 1).float() / 127.5 - 1
    levels = [level.half()]
    for _ in range(2):
        level = F.avg_pool2d(level[None], 2)[0]
        levels.append(level.half())
    return levels


def _log_uniform(random: Random, low: float, high: float) -> float:
    return math.exp(random.uniform(math.log(low), math.log(high)))


def _path(random: Random, k: NDArray[np.float64], speed: float) -> NDArray[np.float64]:
    """Where a camera is at times `k` in frames, in pixels: a steady motion, and some sway."""
    sway = random.uniform(0, 3) * np.sin(k * random.uniform(0.05, 0.6) + random.uniform(0, 6.3))
    return random.gauss(0, 1) * speed * k + sway * (random.random() < 0.5)
