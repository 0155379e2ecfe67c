"""A model with weights, and where they came from: embedded, random, the hub or a file."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod, sqrt
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from vidtok_edge.errors import CheckpointError, UsageError
from vidtok_edge.hashes import sha256_of_parts
from vidtok_edge.variants import (
    EMBEDDED,
    SHORT_NAMES,
    Variant,
    twins_of,
    variant_by_name,
    variant_named_in,
)
from vidtok_edge.vidtok_ref.checkpoint import load_checkpoint, shapes_of
from vidtok_edge.vidtok_ref.hub import download
from vidtok_edge.vidtok_ref.model import VidTok

__all__ = [
    "WeightsOrigin",
    "embedded_file",
    "load_weights",
    "model_from_state",
    "random_state",
    "state_sha256",
]

EMBEDDED_FOLDER = Path(__file__).parent / "embedded"


@dataclass(frozen=True, slots=True)
class WeightsOrigin:
    """Where weights came from."""

    source: Literal["embedded", "random", "hub", "file"]
    location: str
    """The file's name, or 'seed 0'; no path of this machine, so it can be stored."""
    sha256: str
    """`state_sha256` of the weights: the same whatever file they came in."""
    skipped: int
    """Number of training-only keys in the file that were left out."""
    path: Path | None
    """The file on this machine, None for random weights. Not to be stored."""
    assumed: str = ""
    """What the file does not prove and was taken for granted, as a sentence; empty for nothing."""
    averaged: bool = False
    """Whether the file holds averaged weights, taken or not."""
    notes: tuple[str, ...] = ()
    """What was taken off the keys, and which weights were taken, as sentences."""


def load_weights(
    variant: str | Variant,
    source: str | None,
    seed: int = 0,
    *,
    identified: bool = False,
    ema: bool = False,
) -> tuple[VidTok, WeightsOrigin]:
    """A float32 model in eval mode, without gradients, and the origin of its weights.

    Args:
        variant: a full name, `fsq`, `kl`, or a configuration of your own.
        source: None for the small tokenizer that ships with the package (`fsq` or its full name),
            'hub' for the official weights, 'random' for seeded ones, else a checkpoint's path
            (a file called hub or random: `./hub`).
        seed: of the random weights, 0 or more; not used otherwise.
        ema: take the averaged weights of a file or the hub.
        identified: the caller compares the weights' hash, so the file's name need not fit.

    Raises:
        UnknownVariant, UsageError: no such variant, no embedded weights for it, a bad seed, `ema`
            without a file, or a short name where the file's weights fit another variant as well.
        CheckpointError: weights that cannot be used.
        MissingDependency, HubUnreachable, OutputNotWritable: see `hub.download`.
    """
    if ema and source in (None, "random"):
        raise UsageError("--ema is for weights from a file or the hub; leave it out.")
    if source is None:
        return _embedded(variant)
    asked = variant
    if isinstance(variant, str):
        variant = variant_by_name(variant)
    if source == "random":
        state = random_state(variant, seed)
        origin = WeightsOrigin("random", f"seed {seed}", state_sha256(state), 0, None)
        return model_from_state(variant, state), origin
    if source == "hub":
        fetched = download(variant)
        model, origin = _from_file(variant, fetched.path, "hub", ema)
        return model, replace(origin, location=str(fetched))
    model, origin = _from_file(variant, Path(source), "file", ema)
    if identified or isinstance(asked, Variant):
        return model, origin
    return model, replace(origin, assumed=_assumed(variant, asked, Path(source)))


def _assumed(variant: Variant, asked: str, path: Path) -> str:
    """What is taken for granted about weights of `path`, which fit `variant`.

    Raises:
        CheckpointError: the file is named for another variant.
        UsageError: `asked` is a short name, and nothing tells `variant` from its twins.
    """
    named = variant_named_in(path.name)
    if named is not None and named.name != variant.name:
        raise CheckpointError(
            f"{path} is named for {named.name}, you asked for {variant.name}. "
            f"Pass --variant {named.name}; if the name is wrong, rename the file."
        )
    twins = twins_of(variant)
    if not twins:
        return ""
    others = " and ".join(twin.name for twin in twins)
    if named is not None:
        return f"The file's name says {variant.name}; the weights would fit {others} as well."
    if asked in SHORT_NAMES:
        raise UsageError(
            f"{path} fits {variant.name} and {others}: keys and shapes are the same, results are "
            f"not, and --variant {asked} does not say which it is. "
            f"Pass --variant {variant.name} or {' or '.join(twin.name for twin in twins)}."
        )
    return (
        f"Assumed to be {variant.name}, as asked: the weights fit {others} as well, and nothing "
        "in the file tells which they are."
    )


def _embedded(variant: str | Variant) -> tuple[VidTok, WeightsOrigin]:
    if isinstance(variant, str):
        name = EMBEDDED.name if variant == "fsq" else variant_by_name(variant).name
    else:
        name = variant.name if variant == EMBEDDED else f"{variant.name}, a configuration of yours,"
    if name != EMBEDDED.name:
        raise UsageError(
            f"No weights of {name} ship with the package; only `fsq` can go without a checkpoint. "
            "Pass --checkpoint PATH, --checkpoint hub (downloads the official weights) or "
            "--checkpoint random (seeded, for latency work)."
        )
    return _from_file(EMBEDDED, embedded_file(f"{name}.safetensors"), "embedded")


def _from_file(
    variant: Variant, path: Path, source: Literal["embedded", "hub", "file"], ema: bool = False
) -> tuple[VidTok, WeightsOrigin]:
    loaded = load_checkpoint(path, variant, ema)
    sha256 = state_sha256(loaded.state)
    origin = WeightsOrigin(
        source,
        path.name,
        sha256,
        loaded.skipped,
        path,
        averaged=loaded.averaged,
        notes=loaded.notes,
    )
    return model_from_state(variant, loaded.state), origin


def embedded_file(name: str) -> Path:
    """A file that ships with the package: the small tokenizer, or a clip.

    Raises:
        UsageError: no file of that name ships with it.
    """
    names = sorted(path.name for path in EMBEDDED_FOLDER.iterdir())
    if name not in names:
        raise UsageError(f"No file {name!r} ships with the package. There are {', '.join(names)}.")
    return EMBEDDED_FOLDER / name


def model_from_state(variant: Variant, state: Mapping[str, Tensor]) -> VidTok:
    """The model of `variant` around the tensors of `state`, not copies; eval, no gradients."""
    with torch.device("meta"):  # or torch would spend seconds drawing weights to throw away
        model = VidTok(variant)
    model.load_state_dict(state, assign=True)
    return model.eval().requires_grad_(False)


def random_state(variant: Variant, seed: int = 0) -> dict[str, Tensor]:
    """Seeded float32 weights of `variant`; every layer matters and activations stay near 1.

    A tensor depends on its key, its shape and `seed` alone, on any machine.
    """
    if seed < 0:
        raise UsageError(f"The seed of random weights must be 0 or more, got {seed}.")
    return {key: _random_tensor(key, shape, seed) for key, shape in shapes_of(variant).items()}


def _random_tensor(key: str, shape: tuple[int, ...], seed: int) -> Tensor:
    generator = np.random.Generator(np.random.PCG64([seed, zlib.crc32(key.encode())]))
    noise = torch.from_numpy(generator.random(prod(shape), dtype=np.float32)).reshape(shape)
    noise.mul_(2.0).sub_(1.0).mul_(sqrt(3.0))  # uniform, mean 0, variance 1
    if key.endswith("mix_factor"):
        return noise.mul_(0.6)
    if len(shape) >= 2:  # a kernel: 1.4 makes up for the variance that silu takes
        return noise.mul_(1.4 / sqrt(prod(shape[1:])))
    if key.endswith("weight"):  # a norm's gain
        return noise.mul_(0.2).add_(1.0)
    return noise.mul_(0.2)


def state_sha256(state: Mapping[str, Tensor]) -> str:
    """sha256 of the float32 bytes (little-endian, C order) of every tensor, in order of key."""
    tensors = (state[key].numpy() for key in sorted(state))
    return sha256_of_parts(np.ascontiguousarray(values, dtype="<f4").data for values in tensors)
