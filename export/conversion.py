"""Checkpoints that hold other objects than tensors, to weights alone: this runs what they hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from vidtok_edge.errors import CheckpointError, UsageError
from vidtok_edge.runtime.files import require_not_read, write_beside
from vidtok_edge.vidtok_ref.wrappers import state_inside

__all__ = ["Converted", "convert_checkpoint"]


@dataclass(frozen=True, slots=True)
class Converted:
    """What a conversion kept."""

    tensors: int
    left_out: tuple[str, ...]
    """Keys of the state dict that hold no tensor."""


def convert_checkpoint(
    path: Path, output: Path, *, run_its_code: bool = False, force: bool = False
) -> Converted:
    """The tensors of `path` as safetensors, under their keys.

    Args:
        path: a file of `torch.save`: a state dict, containers around one, or a pickled module.
        output: the `.safetensors` file to write.
        run_its_code: unpickling such a file runs code that whoever made it chose; nothing is read
            without this consent.
        force: replace `output`.

    Raises:
        UsageError: no consent, or `output` has another suffix, or is `path`.
        CheckpointError: the file cannot be read, or holds no tensors by key.
        OutputExists, OutputNotWritable: `output` is there already, or cannot be written.
    """
    if not run_its_code:
        raise UsageError(
            f"To convert {path}, Python runs whatever code is in it, with your rights. Do so only "
            "if you trust who made it, and somewhere that may be lost (a container without "
            "network); then pass --run-its-code. Files of tensors alone need no conversion."
        )
    if output.suffix != ".safetensors":
        raise UsageError(f"{output} must end in .safetensors. Name such a file.")
    require_not_read(output, path)
    if not path.is_file():
        raise CheckpointError(f"There is no file {path}. Check the path.")
    with write_beside(output, force) as temporary:
        state = _state(path)
        tensors = {str(key): value for key, value in state.items() if isinstance(value, Tensor)}
        if not tensors:
            raise CheckpointError(f"{path} holds no tensors by key. Save its state dict.")
        # Cloned: safetensors refuses tensors that share memory.
        plain = {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}
        save_file(plain, temporary)
    return Converted(len(tensors), tuple(str(key) for key in state if str(key) not in tensors))


def _state(path: Path) -> Mapping[Any, object]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:  # the file's own code may raise anything
        raise CheckpointError(
            f"{path} cannot be unpickled: {type(error).__name__}: {error}. Where a module is "
            "missing, convert it in the environment that wrote it."
        ) from error
    if isinstance(content, nn.Module):
        return dict(content.state_dict())
    state = state_inside(content)
    if isinstance(state, nn.Module):
        return dict(state.state_dict())
    return state if isinstance(state, Mapping) else {}
