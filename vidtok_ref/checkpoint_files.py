"""What a checkpoint file holds: pickles of weights, safetensors, and either in shards.

A pickle is read with torch's restricted unpickler and never otherwise.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import IO, cast

import torch
from safetensors.torch import load_file

from vidtok_edge.bounded import TooLarge, read_at_most
from vidtok_edge.errors import CheckpointError
from vidtok_edge.vidtok_ref.pickle_bounds import ZIP, FewReads, check_pickle, check_zip

__all__ = ["content_of"]

PICKLED = (".ckpt", ".pt", ".pth", ".bin")
INDEX = ".index.json"
SUFFIXES = (*PICKLED, ".safetensors", INDEX)
# Bytes. Those of a model of 288 keys take 20,000 and 30,000; training state three times as many.
LARGEST_INDEX = 4 << 20
LARGEST_HEADER = 4 << 20
"""Of safetensors: 40,000 keys, a second of reading."""


def content_of(path: Path) -> object:
    """What `path` holds: weights by key, perhaps in containers; not checked.

    Raises:
        CheckpointError: no file, not a checkpoint, a shard that is missing or does not hold what
            the index says, or refused because it would run code.
    """
    _check_file(path)
    if path.name.lower().endswith(INDEX):
        return _sharded(path)
    return _unpickled(path) if path.suffix.lower() in PICKLED else _safetensors(path)


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise CheckpointError(
            f"{path} is a folder. Name the checkpoint file inside it; of one in several files, its "
            "index (.index.json)."
        )
    if not path.name.lower().endswith(SUFFIXES):
        raise CheckpointError(
            f"{path} has the suffix {path.suffix!r}; checkpoints are {', '.join(SUFFIXES)}. "
            "Rename the file if it is one of these."
        )
    if not path.exists():
        raise CheckpointError(f"There is no file {path}. Check the path.")


def _sharded(path: Path) -> dict[str, object]:
    """The tensors of all shards that the index at `path` names."""
    shards: dict[str, Mapping[str, object]] = {}
    tensors: dict[str, object] = {}
    for key, name in _weight_map(path).items():
        if name not in shards:
            shard = content_of(path.with_name(name))
            if not isinstance(shard, Mapping):
                raise CheckpointError(f"{path.with_name(name)} holds no weights by key.")
            shards[name] = shard
            tensors.update(shard)
        if key not in shards[name]:
            raise CheckpointError(
                f"{path} says that {key} lies in {name}, which does not hold it. "
                "Fetch the index and its shards again, all of one version."
            )
    return tensors


def _weight_map(path: Path) -> dict[str, str]:
    """Which file beside the index holds which key."""
    try:
        index = json.loads(read_at_most(path, LARGEST_INDEX))
        names = index.get("weight_map") if isinstance(index, dict) else None
        if not isinstance(names, dict) or not names:
            raise ValueError("it has no weight_map")
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path} is not the index of a sharded checkpoint: {error}. Fetch it again."
        ) from error
    for name in names.values():
        plain = isinstance(name, str) and re.fullmatch(r"(?!\.\.?$)[\w.+-]{1,200}", name, re.ASCII)
        if not plain or name.endswith(INDEX):
            shown = repr(name[:100]) if isinstance(name, str) else f"of a {type(name).__name__}"
            raise CheckpointError(
                f"{path} names the shard {shown}, which is no plain file name. "
                "Shards lie beside their index."
            )
    return names


def _unpickled(path: Path) -> object:
    try:
        with warnings.catch_warnings(), path.open("rb") as file:
            warnings.simplefilter("ignore")  # hostile files make torch warn; the outcome counts
            if zipped := file.read(4) == ZIP:
                check_zip(file)
            else:
                check_pickle(file)
            # mmap: optimizer states may stand beside the weights and need not be read. torch
            # can map zipped files only; those from before torch 1.6 are bare pickles.
            source = path if zipped else cast("IO[bytes]", FewReads(file))
            content: object = torch.load(source, map_location="cpu", weights_only=True, mmap=zipped)
            return content
    except Exception as error:  # a damaged pickle can make the unpickler raise anything
        raise _unreadable(path, error) from error


def _safetensors(path: Path) -> object:
    try:
        with path.open("rb") as file:
            header = int.from_bytes(file.read(8), "little")
        if header > min(LARGEST_HEADER, path.stat().st_size):
            raise TooLarge(f"its header of {header} bytes is larger than {LARGEST_HEADER} bytes")
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
            f"vidtok-edge convert {path.name} --output weights.safetensors --run-its-code, "
            "and pass that."
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
