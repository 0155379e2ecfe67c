"""Weights from a file, checked key by key before anything uses them.

docs/model.md, section 5.

A checkpoint is untrusted input: a pickle is read with torch's restricted unpickler and never
otherwise, and a file is refused unless its weights are exactly those of the variant asked for.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

import torch
from safetensors.torch import load_file
from torch import Tensor

from vidtok_edge.errors import CheckpointError
from vidtok_edge.hashes import sha256_of
from vidtok_edge.variants import VARIANTS, Variant
from vidtok_edge.vidtok_ref.model import VidTok

__all__ = ["LoadedCheckpoint", "load_checkpoint", "shapes_of"]

PICKLED = (".ckpt", ".pt")
SUFFIXES = (*PICKLED, ".safetensors")
TRAINING_ONLY = ("loss.", "model_ema.")  # the loss with its networks, the averaged weights
LISTED = 8  # keys named in a message, of each kind

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LoadedCheckpoint:
    """Weights that fit their variant."""

    state: Mapping[str, Tensor]
    """float32 tensors that own their memory: exactly the official keys of the variant."""
    sha256: str
    """Of the file."""
    skipped: int
    """Number of training-only keys in the file that were left out."""
    path: Path


def load_checkpoint(path: str | Path, variant: Variant) -> LoadedCheckpoint:
    """The weights of `variant` from `path`: `.ckpt`, `.pt` (weights only) or `.safetensors`.

    Weights lie under `state_dict`, as in a Lightning container, or at the top. Training-only keys
    (`loss.*`, `model_ema.*`) are skipped; any other difference from the variant is an error.

    Raises:
        CheckpointError: no file, not a checkpoint, refused because it would run code, another
            variant's weights, keys or shapes that differ, or weights that are not finite.
    """
    path = Path(path)
    _check_file(path)
    content = _unpickled(path) if path.suffix.lower() in PICKLED else _safetensors(path)
    tensors = _tensors(path, content)
    kept = {key: t for key, t in tensors.items() if not key.startswith(TRAINING_ONLY)}
    _check_keys(path, kept, variant)
    state = {key: _weight(path, key, kept[key]) for key in shapes_of(variant)}
    return LoadedCheckpoint(state, sha256_of(path), len(tensors) - len(kept), path)


@cache
def shapes_of(variant: Variant) -> Mapping[str, Shape]:
    """Every state-dict key of `variant` and its shape; allocates no weights."""
    with torch.device("meta"):
        model = VidTok(variant)
    return MappingProxyType({key: tuple(t.shape) for key, t in model.state_dict().items()})


def _check_file(path: Path) -> None:
    if path.suffix.lower() not in SUFFIXES:
        raise CheckpointError(
            f"{path} has the suffix {path.suffix!r}; checkpoints are {', '.join(SUFFIXES)}. "
            "Rename the file if it is one of these."
        )
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder. Name the checkpoint file inside it.")
    if not path.exists():
        raise CheckpointError(f"There is no file {path}. Check the path.")


def _unpickled(path: Path) -> object:
    try:
        with path.open("rb") as file:
            zipped = file.read(4) == b"PK\x03\x04"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # hostile files make torch warn; the outcome counts
            # mmap: optimizer states may stand beside the weights and need not be read. torch
            # can map zipped files only; those from before torch 1.6 are bare pickles.
            content: object = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
            return content
    except Exception as error:  # a damaged pickle can make the unpickler raise anything
        raise _unreadable(path, error) from error


def _safetensors(path: Path) -> object:
    try:
        return load_file(path)
    except Exception as error:  # as above: SafetensorError, OSError, ValueError, ...
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> CheckpointError:
    refused = re.search(r"GLOBAL (\S+)", str(error))
    if refused:
        return CheckpointError(
            f"{path} was refused: besides tensors it holds {refused[1]}, and unpickling that "
            "can run code. Only weights are loaded. If you trust who made the file, convert it "
            "somewhere that may be lost (a container without network): "
            "state = torch.load(PATH, weights_only=False)['state_dict'], then "
            "safetensors.torch.save_file(state, 'weights.safetensors'), and pass that."
        )
    size = path.stat().st_size
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # torch puts its advice to load unsafely, which we must not repeat, before the reason.
    reason = next((line for line in lines if line.startswith("Unsupported")), None)
    reason = reason or (lines[0].split(". ")[0] if lines else "it ends too early")
    return CheckpointError(
        f"{path} ({size} bytes) is not a checkpoint, or is truncated: {type(error).__name__}: "
        f"{reason.rstrip('.')}. Fetch it again and compare its size; if you wrote it yourself, "
        "save it with torch.save's defaults or as safetensors."
    )


def _tensors(path: Path, content: object) -> dict[str, Tensor]:
    """The weights inside a container, or at the top."""
    if isinstance(content, Mapping) and "state_dict" in content:
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not content:
        raise CheckpointError(
            f"{path} holds {_kind(content)}, not weights by key. "
            "Save a state dict, at the top or under 'state_dict'."
        )
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise CheckpointError(
                f"{path} has {_kind(value)} at key {key!r} where a tensor should be. "
                "Save the state dict alone, at the top or under 'state_dict'."
            )
    return dict(content)


def _kind(value: object) -> str:
    if isinstance(value, Mapping) and not value:
        return "nothing"
    return f"an object of type {type(value).__name__}"


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
