"""Narrow copies of the published models with the golden weights, and the golden numbers."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import golden_recipe
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vidtok_edge.variants import VARIANTS
from vidtok_edge.vidtok_ref import VidTok
from vidtok_edge.vidtok_ref.checkpoint import shapes_of
from vidtok_edge.vidtok_ref.weights import model_from_state

FOLDER = Path(__file__).parent / "golden"


@cache
def narrow(name: str, ch: int = 32) -> VidTok:
    """The variant called `name` at width `ch` with the golden recipe's weights.

    Shared between tests: do not change it.
    """
    variant = replace(VARIANTS[name], ch=ch)
    state = {
        key: torch.from_numpy(golden_recipe.parameter(key, shape))
        for key, shape in shapes_of(variant).items()
    }
    return model_from_state(variant, state)


def golden_video(frames: int, height: int, width: int, batch: int = 1) -> Tensor:
    """float32 [batch, 3, frames, height, width] in [-1, 1): noise, the same on every machine."""
    return torch.from_numpy(golden_recipe.video(frames, height, width, batch))


def golden_arrays(stem: str) -> dict[str, npt.NDArray[Any]]:
    """The arrays of `golden/<stem>.npz`, by name."""
    with np.load(FOLDER / f"{stem}.npz") as arrays:
        return dict(arrays)


@dataclass(frozen=True, slots=True)
class Golden:
    """What the original computes for one variant at width 32."""

    name: str
    frames: int
    height: int
    width: int

    def arrays(self) -> dict[str, Tensor]:
        """`golden.json` says what each array means."""
        return {key: torch.from_numpy(a) for key, a in golden_arrays(self.name).items()}


def _goldens() -> list[Golden]:
    configs = json.loads((FOLDER / "golden.json").read_text())["configs"]
    return [Golden(config["config"], *config["input"]["shape"][2:]) for config in configs]


GOLDENS = _goldens()
"""The 17 variants that have golden numbers."""


def one_of_each_structure(names: Iterable[str]) -> list[str]:
    """The first of the variants that differ in their latents alone: values, FSQ or KL."""
    found: dict[tuple[object, ...], str] = {}
    for name in names:
        v = VARIANTS[name]
        found.setdefault((v.version, v.causal, v.time_factor, v.space_factor), name)
    return list(found.values())


def golden_shapes(name: str) -> dict[str, tuple[int, ...]]:
    """Every state-dict key of the full-size variant and its shape, as the original has them."""
    text = (FOLDER / "keys" / f"{name}.json").read_text()
    return {key: tuple(shape) for key, shape in json.loads(text)["state_dict"].items()}
