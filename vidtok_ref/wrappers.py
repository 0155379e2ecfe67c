"""Weights out of what people wrap them in: containers, prefixes of keys, averaged copies.

Nothing is guessed: what remains is held to the variant's keys and shapes, key by key.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import Tensor

from vidtok_edge.errors import CheckpointError

__all__ = ["Unwrapped", "state_inside", "unwrapped"]

CONTAINERS = ("state_dict", "model_state_dict", "model", "module")
AVERAGED = ("ema", "model_ema", "ema_state_dict", "state_dict_ema")
WRAPPERS = ("module", "_orig_mod")  # DistributedDataParallel and torch.compile, at any level
TRAINING_ONLY = ("loss.", "model_ema.")  # the loss with its networks, the averaged weights
COUNTERS = ("n_averaged",)  # of torch.optim.swa_utils.AveragedModel
PARTS = ("encoder", "decoder")
DEEPEST = 8  # containers in one another, and prefixes: one may hold itself

State = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Unwrapped:
    """Weights by the keys that the model has, as far as wrappers were known."""

    state: State
    skipped: int
    """Number of training-only keys that were left out."""
    averaged: bool
    """Whether the file holds averaged weights, taken or not."""
    notes: tuple[str, ...]
    """What was taken off or chosen, as sentences."""


def unwrapped(path: Path, content: object, wanted: Collection[str], ema: bool) -> Unwrapped:
    """The weights inside `content`, which was read from `path`.

    Args:
        path: for messages.
        content: tensors by key, or containers around them.
        wanted: the keys of the model, for averaged weights, whose keys have lost their dots.
        ema: take the averaged weights.

    Raises:
        CheckpointError: no weights by key, none averaged, or two keys that become one.
    """
    notes: list[str] = []
    content, container = _out_of_containers(content, ema, notes)
    state = _plain_keys(path, _tensors(path, content), notes)
    averaged = container is not None or any(key.startswith("model_ema.") for key in state)
    kept = _trained(state)
    skipped = len(state) - len(kept)
    if ema and container is None:
        kept = _averaged_state(path, state, wanted)
        container = "model_ema"
    if ema:
        notes.append(f"The averaged weights ({container}) were taken.")
    elif averaged:
        notes.append("The file also holds averaged weights, which were not taken; --ema does.")
    return Unwrapped(kept, skipped, averaged, tuple(notes))


def state_inside(content: object) -> object:
    """What the containers in `content` hold, averaged weights left aside; not checked."""
    return _out_of_containers(content, ema=False, notes=[])[0]


def _out_of_containers(content: object, ema: bool, notes: list[str]) -> tuple[object, str | None]:
    """What the containers hold, and the name of one of averaged weights that was seen."""
    seen: str | None = None
    for _ in range(DEEPEST):
        if not isinstance(content, Mapping):
            break
        for name in AVERAGED:
            if isinstance(content.get(name), Mapping):
                seen = seen or name
        if ema and seen in content:
            content = content[seen]
            ema = False  # what lies inside is plain
            continue
        inner = [name for name in CONTAINERS if isinstance(content.get(name), Mapping)]
        if not inner:
            # A state dict that is no mapping is an error of its own.
            content = content.get("state_dict", content)
            break
        content = content[inner[0]]
        if inner[0] != "state_dict":
            notes.append(f"The weights lie under {inner[0]!r}.")
    return content, seen


def _tensors(path: Path, content: object) -> State:
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


def _plain_keys(path: Path, tensors: State, notes: list[str]) -> State:
    """`tensors` without the names of wrappers in their keys."""
    for wrapper in WRAPPERS:
        carriers = [key for key in tensors if wrapper in key.split(".")[:-1]]
        if carriers:
            tensors = _renamed(path, tensors, partial(_without, wrapper))
            notes.append(f"{_count(carriers, tensors)} carry `{wrapper}.`, which was taken off.")
    for _ in range(DEEPEST):  # a key of a million dots is a million prefixes
        prefix = _common_prefix(trained := _trained(tensors))
        if not prefix:
            break
        notes.append(f"All {len(trained)} keys carry `{prefix}`, which was taken off.")
        tensors = _renamed(path, tensors, partial(_cut, prefix))
    return tensors


def _cut(prefix: str, key: str) -> str:
    return key.removeprefix(prefix)


def _without(wrapper: str, key: str) -> str:
    *names, last = key.split(".")
    return ".".join([*(name for name in names if name != wrapper), last])


def _count(carriers: Collection[str], tensors: State) -> str:
    if len(carriers) == len(tensors):
        return f"All {len(tensors)} keys"
    return f"{len(carriers)} of {len(tensors)} keys"


def _common_prefix(tensors: State) -> str:
    """`model.` where every key begins with it; empty for the parts of the model themselves."""
    firsts = {key.partition(".")[0] if "." in key else "" for key in tensors}
    first = firsts.pop() if len(firsts) == 1 else ""
    return f"{first}." if first and first not in PARTS else ""


def _renamed(path: Path, tensors: State, rename: Callable[[str], str]) -> State:
    renamed: State = {}
    for key, value in tensors.items():
        name = rename(key)
        if name in renamed:
            raise CheckpointError(
                f"{path} holds {name} twice, once behind a wrapper. "
                "Save the state dict of one model alone."
            )
        renamed[name] = value
    return renamed


def _trained(state: State) -> State:
    """The weights without what only training needs."""
    return {
        key: value
        for key, value in state.items()
        if not key.startswith(TRAINING_ONLY) and key not in COUNTERS
    }


def _averaged_state(path: Path, state: State, wanted: Collection[str]) -> State:
    """The weights under `model_ema.`, whose keys have no dots of their own."""
    found = {
        key.removeprefix("model_ema.").replace(".", ""): value
        for key, value in state.items()
        if key.startswith("model_ema.")
    }
    if not found:
        raise CheckpointError(
            f"{path} holds no averaged weights: nothing under {', '.join(AVERAGED)}. "
            "Leave --ema out to take its weights."
        )
    return {key: found[plain] for key in wanted if (plain := key.replace(".", "")) in found}
