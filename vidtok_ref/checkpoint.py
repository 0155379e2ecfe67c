"""Weights from a file, checked key by key before anything uses them.

docs/model.md, section 5.

A checkpoint is untrusted input: a pickle is read with torch's restricted unpickler and never
otherwise, and a file is refused unless its weights are exactly those of the variant asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor

from vidtok_edge.errors import CheckpointError
from vidtok_edge.hashes import sha256_of
from vidtok_edge.variants import VARIANTS, Variant
from vidtok_edge.vidtok_ref.checkpoint_files import content_of
from vidtok_edge.vidtok_ref.model import VidTok
from vidtok_edge.vidtok_ref.wrappers import unwrapped

__all__ = ["LoadedCheckpoint", "load_checkpoint", "shapes_of"]

LISTED = 8  # keys named in a message, of each kind

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LoadedCheckpoint:
    """Weights that fit their variant."""

    state: Mapping[str, Tensor]
    """float32 tensors that own their memory: exactly the official keys of the variant."""
    sha256: str
    """Of the file; of a sharded checkpoint that of its index."""
    skipped: int
    """Number of training-only keys in the file that were left out."""
    path: Path
    averaged: bool = False
    """Whether the file holds averaged weights, taken or not."""
    notes: tuple[str, ...] = ()
    """What was taken off the keys, and which weights were taken, as sentences."""


def load_checkpoint(path: str | Path, variant: Variant, ema: bool = False) -> LoadedCheckpoint:
    """The weights of `variant` from `path`: a pickle of weights, safetensors, or shards.

    Weights lie at the top, under `state_dict`, as in a Lightning container, or under `model`.
    `module.` and `_orig_mod.` are taken off the keys, and so is a prefix that all of them carry.
    Training-only keys (`loss.*`, `model_ema.*`) are skipped; any other difference from the variant
    is an error.

    Args:
        path: `.ckpt`, `.pt`, `.pth`, `.bin`, `.safetensors` or `.index.json`.
        variant: what the weights must fit.
        ema: take the averaged weights.

    Raises:
        CheckpointError: no file, not a checkpoint, refused because it would run code, another
            variant's weights, keys or shapes that differ, none averaged where they are asked for,
            or weights that are not finite.
    """
    path = Path(path)
    found = unwrapped(path, content_of(path), shapes_of(variant), ema)
    _check_keys(path, found.state, variant)
    state = {key: _weight(path, key, found.state[key]) for key in shapes_of(variant)}
    return LoadedCheckpoint(
        state, sha256_of(path), found.skipped, path, found.averaged, found.notes
    )


@cache
def shapes_of(variant: Variant) -> Mapping[str, Shape]:
    """Every state-dict key of `variant` and its shape; allocates no weights."""
    with torch.device("meta"):
        model = VidTok(variant)
    return MappingProxyType({key: tuple(t.shape) for key, t in model.state_dict().items()})


def _check_keys(path: Path, got: Mapping[str, Tensor], variant: Variant) -> None:
    shapes = {key: tuple(t.shape) for key, t in got.items()}
    wanted = shapes_of(variant)
    if shapes == wanted:
        return
    fitting = [name for name, other in VARIANTS.items() if shapes_of(other) == shapes]
    if fitting and variant.name not in fitting:
        raise CheckpointError(
            f"{path} is {' or '.join(fitting)}, you asked for {variant.name}. "
            f"Pass --variant {fitting[0]}, or the checkpoint of {variant.name}."
        )
    if prefix := _prefix(shapes, wanted):
        inside = sum(key.startswith(prefix) for key in shapes)
        raise CheckpointError(
            f"{path} holds the model behind `{prefix}` ({inside} keys), beside "
            f"{len(shapes) - inside} keys of something else. "
            f"Save the keys that begin with `{prefix}` alone."
        )
    both = [key for key in wanted if key in shapes]
    differences = [
        _listed("missing", [key for key in wanted if key not in shapes]),
        _listed("unexpected", [key for key in shapes if key not in wanted]),
        _listed(
            "of the wrong shape",
            [
                f"{key} is {list(shapes[key])}, not {list(wanted[key])}"
                for key in both
                if shapes[key] != wanted[key]
            ],
        ),
    ]
    raise CheckpointError(
        f"{path} does not fit {variant.name}, nor any other variant: "
        f"{'; '.join(filter(None, differences))}. "
        f"Pass a checkpoint whose {len(wanted)} keys are those of the published model."
    )


def _prefix(got: Mapping[str, Shape], wanted: Mapping[str, Shape]) -> str:
    """Behind which all wanted keys lie in `got`; empty where there is none."""
    first = next(iter(wanted))
    for key in got:
        if key.endswith(f".{first}"):
            prefix = key.removesuffix(first)
            if all(f"{prefix}{name}" in got for name in wanted):
                return prefix
    return ""


def _listed(what: str, items: Iterable[str]) -> str:
    """'2 missing: a, b', cut after `LISTED` items; empty for none."""
    items = list(items)
    if not items:
        return ""
    more = f" and {len(items) - LISTED} more" if len(items) > LISTED else ""
    return f"{len(items)} {what}: {', '.join(items[:LISTED])}{more}"


def _weight(path: Path, key: str, stored: Tensor) -> Tensor:
    """`stored` as a contiguous float32 tensor that owns its memory, all of it finite."""
    plain = stored.layout is torch.strided and stored.device.type == "cpu"
    if not plain or not stored.is_floating_point():
        raise CheckpointError(
            f"{path} stores {key} as {stored.dtype} ({stored.layout}, on {stored.device}). "
            "Weights must be dense floating-point tensors; save them as float32."
        )
    # A copy, not a view of the mapped file: a file changed later must not change the model.
    weight = torch.empty(stored.shape, dtype=torch.float32).copy_(stored.detach())
    if not bool(torch.isfinite(weight).all()):
        raise CheckpointError(
            f"{path} has NaN or infinite weights in {key}. "
            "Nothing that it computes would mean anything; fetch or train it again."
        )
    return weight
