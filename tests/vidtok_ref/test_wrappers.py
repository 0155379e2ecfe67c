"""Weights in everyday wrappers load as if they were bare; the file says what was taken off."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from narrow import narrow
from safetensors.torch import save_file
from torch import Tensor

from vidtok_edge.errors import CheckpointError
from vidtok_edge.variants import VARIANTS
from vidtok_edge.vidtok_ref import LoadedCheckpoint, load_checkpoint

NAME = "vidtok_kl_causal_488_4chn"
VARIANT = replace(VARIANTS[NAME], ch=4)
State = dict[str, Tensor]


def weights() -> State:
    return dict(narrow(NAME, ch=4).state_dict())


def halved() -> State:
    return {key: value / 2 for key, value in weights().items()}


def behind(prefix: str, state: State) -> State:
    return {prefix + key: value for key, value in state.items()}


def compiled_inside(state: State) -> State:
    """As torch.compile of a part of a model has it."""
    return {
        ("encoder._orig_mod." + key.removeprefix("encoder.") if key.startswith("enc") else key): t
        for key, t in state.items()
    }


def load(content: object, folder: Path, ema: bool = False, name: str = "a.pth") -> LoadedCheckpoint:
    torch.save(content, folder / name)
    return load_checkpoint(folder / name, VARIANT, ema)


def is_(loaded: LoadedCheckpoint, state: State) -> bool:
    return all(torch.equal(loaded.state[key], value) for key, value in state.items())


WRAPPED: dict[str, tuple[Callable[[State], Any], str]] = {
    "DistributedDataParallel": (lambda s: behind("module.", s), "carry `module.`"),
    "torch.compile": (lambda s: behind("_orig_mod.", s), "carry `_orig_mod.`"),
    "both": (lambda s: behind("module._orig_mod.", s), "carry `_orig_mod.`"),
    "a part compiled": (compiled_inside, "keys carry `_orig_mod.`"),
    "an attribute": (lambda s: behind("model.", s), "carry `model.`"),
    "two attributes": (lambda s: behind("tokenizer.vae.", s), "carry `vae.`"),
    "model": (lambda s: {"model": s, "optimizer": {"state": {}}, "step": 3}, "under 'model'"),
    "nested": (lambda s: {"model": {"state_dict": behind("module.", s)}}, "carry `module.`"),
    "AveragedModel": (
        lambda s: {"n_averaged": torch.tensor(5)} | behind("module.", s),
        "carry `module.`",
    ),
}


@pytest.mark.parametrize("wrapped", WRAPPED)
def test_wrappers_are_taken_off(wrapped: str, tmp_path: Path) -> None:
    wrap, note = WRAPPED[wrapped]
    loaded = load(wrap(weights()), tmp_path)
    assert is_(loaded, weights())
    assert note in " ".join(loaded.notes)


def test_the_note_counts_the_keys(tmp_path: Path) -> None:
    loaded = load(behind("module.", weights()), tmp_path)
    assert loaded.notes == (f"All {len(weights())} keys carry `module.`, which was taken off.",)
    assert load(weights(), tmp_path).notes == ()


@pytest.mark.parametrize("name", ["a.pth", "pytorch_model.bin", "a.ckpt", "a.pt"])
def test_pickles_have_many_names(name: str, tmp_path: Path) -> None:
    assert is_(load(weights(), tmp_path, name=name), weights())


def lit_ema(state: State) -> State:
    """As the original's training writes them: the dots of the keys are gone."""
    plain = {"model_ema." + key.replace(".", ""): value for key, value in state.items()}
    return plain | {
        "model_ema.decay": torch.tensor(0.999),
        "model_ema.num_updates": torch.tensor(3),
    }


@pytest.mark.parametrize(
    "content",
    [
        lambda: {"state_dict": weights() | lit_ema(halved())},
        lambda: {"model": weights(), "ema": halved()},
        lambda: {"model": weights(), "model_ema": {"state_dict": behind("module.", halved())}},
    ],
)
def test_averaged_weights_are_taken_when_asked_for(
    content: Callable[[], object], tmp_path: Path
) -> None:
    plain, averaged = load(content(), tmp_path), load(content(), tmp_path, ema=True)
    assert is_(plain, weights()) and is_(averaged, halved())
    assert plain.averaged and averaged.averaged
    assert "which were not taken; --ema does" in plain.notes[-1]
    assert averaged.notes[-1].startswith("The averaged weights (")


def test_averaged_weights_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no averaged weights"):
        load(weights(), tmp_path, ema=True)


def test_a_key_that_comes_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"holds encoder\.conv_in\.conv\.weight twice"):
        load(weights() | behind("module.", weights()), tmp_path)


def test_a_model_inside_another_is_named_by_its_prefix(tmp_path: Path) -> None:
    whole = behind("first_stage.", weights()) | {"unet.weight": torch.zeros(3)}
    count = len(weights())
    with pytest.raises(
        CheckpointError, match=rf"behind `first_stage\.` \({count} keys\), beside 1 "
    ):
        load(whole, tmp_path)


def test_a_container_that_holds_itself_ends(tmp_path: Path) -> None:
    loop: dict[str, object] = {}
    loop["model"] = loop
    with pytest.raises(CheckpointError, match="an object of type dict at key 'model'"):
        load(loop, tmp_path)


# --- shards -------------------------------------------------------------------------------------


def sharded(folder: Path, weight_map: dict[str, Any] | None = None) -> Path:
    state = weights()
    names = list(state)
    halves = {"one.safetensors": names[::2], "two.safetensors": names[1::2]}
    for file, keys in halves.items():
        save_file({key: state[key].contiguous() for key in keys}, folder / file)
    full = {key: file for file, keys in halves.items() for key in keys} | (weight_map or {})
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": full}))
    return index


def test_shards_are_put_together(tmp_path: Path) -> None:
    assert is_(load_checkpoint(sharded(tmp_path), VARIANT), weights())


def test_a_shard_that_is_missing_is_named(tmp_path: Path) -> None:
    index = sharded(tmp_path)
    (tmp_path / "two.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"no file .*two\.safetensors"):
        load_checkpoint(index, VARIANT)


@pytest.mark.parametrize(
    "name", ["../one.safetensors", "/etc/passwd", "", 3, "a.index.json", "..", "."]
)
def test_a_shard_elsewhere_is_refused(name: object, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no plain file name|suffix"):
        load_checkpoint(sharded(tmp_path, {"encoder.x": name}), VARIANT)


def test_a_shard_without_its_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"lies in one\.safetensors, which does not hold it"):
        load_checkpoint(sharded(tmp_path, {"encoder.x": "one.safetensors"}), VARIANT)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight_map": []}', "[" * 100_000, "\0"])
def test_an_index_that_is_none(text: str, tmp_path: Path) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(text)
    with pytest.raises(CheckpointError, match="is not the index of a sharded checkpoint"):
        load_checkpoint(index, VARIANT)
