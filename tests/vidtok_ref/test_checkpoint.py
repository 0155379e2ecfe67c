"""Good checkpoints load; every bad one is refused with its reason, and none of them runs code."""

import hashlib
import io
import os
import pickle
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import torch
from narrow import narrow
from safetensors.torch import save_file
from torch import Tensor

from vidtok_edge.errors import CheckpointError
from vidtok_edge.variants import EMBEDDED, VARIANTS, Variant
from vidtok_edge.vidtok_ref import embedded_file, load_checkpoint
from vidtok_edge.vidtok_ref.checkpoint import shapes_of

NAME = "vidtok_kl_causal_488_4chn"
VARIANT = replace(VARIANTS[NAME], ch=4)
FULL = VARIANTS[NAME]
State = dict[str, Any]


@pytest.fixture
def state() -> State:
    return dict(narrow(NAME, ch=4).state_dict())


def zeros(variant: Variant) -> State:
    """A state dict of full-size shapes whose tensors share one number: nothing to store."""
    zero = torch.zeros(1)
    return {key: zero.expand(shape) for key, shape in shapes_of(variant).items()}


def saved(content: object, path: Path, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


def refused(path: Path, match: str, variant: Variant = VARIANT) -> str:
    with pytest.raises(CheckpointError, match=match) as caught:
        load_checkpoint(path, variant)
    assert path.name in str(caught.value)
    return str(caught.value)


def bare(state: State, path: Path) -> Path:
    return saved(state, path / "weights.pt")


def lightning(state: State, path: Path) -> Path:
    training = {
        "epoch": 3,
        "global_step": 17,
        "pytorch-lightning_version": "2.4.0",
        "state_dict": OrderedDict(state),
        "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(5)}}, "param_groups": [{}]}],
        "hyper_parameters": {"lr": 1e-4, "levels": [8, 8]},
        "callbacks": {"x": None},
    }
    return saved(training, path / "weights.ckpt")


def legacy(state: State, path: Path) -> Path:
    return saved(state, path / "legacy.ckpt", _use_new_zipfile_serialization=False)


def safe(state: State, path: Path) -> Path:
    save_file(state, path / "weights.safetensors")
    return path / "weights.safetensors"


@pytest.mark.parametrize("save", [bare, lightning, legacy, safe])
def test_every_container_loads(
    save: Callable[[State, Path], Path], state: State, tmp_path: Path
) -> None:
    path = save(state, tmp_path)
    loaded = load_checkpoint(str(path), VARIANT)
    assert list(loaded.state) == list(shapes_of(VARIANT))
    assert all(torch.equal(loaded.state[key], value) for key, value in state.items())
    assert loaded.skipped == 0 and loaded.path == path
    assert loaded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_training_only_keys_are_skipped_and_counted(state: State, tmp_path: Path) -> None:
    state["loss.logvar"] = torch.zeros(())
    state["loss.discriminator.main.1.num_batches_tracked"] = torch.zeros((), dtype=torch.int64)
    state["model_ema.decay"] = torch.zeros(())
    loaded = load_checkpoint(lightning(state, tmp_path), VARIANT)
    assert loaded.skipped == 3
    assert set(loaded.state) == set(shapes_of(VARIANT))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_come_out_as_float32(dtype: torch.dtype, state: State, tmp_path: Path) -> None:
    stored = {key: value.to(dtype) for key, value in state.items()}
    loaded = load_checkpoint(safe(stored, tmp_path), VARIANT)
    for key, value in loaded.state.items():
        assert value.dtype == torch.float32 and value.is_contiguous()
        assert torch.equal(value, stored[key].float())


def test_loaded_weights_outlive_the_file(state: State, tmp_path: Path) -> None:
    path = bare(state, tmp_path)
    loaded = load_checkpoint(path, VARIANT)
    path.write_bytes(b"\0" * path.stat().st_size)
    assert all(torch.equal(loaded.state[key], value) for key, value in state.items())


def test_parameters_load_too(state: State, tmp_path: Path) -> None:
    stored = {key: torch.nn.Parameter(value) for key, value in state.items()}
    loaded = load_checkpoint(bare(stored, tmp_path), VARIANT)
    assert not any(value.requires_grad for value in loaded.state.values())


def test_a_twin_is_taken_at_its_word(tmp_path: Path) -> None:
    """Versions 1.0 and 1.1 have the same keys and shapes: nothing in the file tells them apart."""
    stored = dict(narrow(NAME, ch=4).state_dict())
    twin = replace(VARIANTS[f"{NAME}_v1_1"], ch=4)
    assert load_checkpoint(bare(stored, tmp_path), twin).skipped == 0


# --- refused ------------------------------------------------------------------------------------


def test_a_missing_file(tmp_path: Path) -> None:
    refused(tmp_path / "none.ckpt", "There is no file .*Check the path")


@pytest.mark.parametrize("name", ["a.ckpt", "shards"])
def test_a_folder(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    refused(tmp_path / name, "is a folder.*index")


@pytest.mark.parametrize("name", ["weights.h5", "weights", "weights.pth.tar", "config.json"])
def test_an_unknown_suffix(name: str, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    refused(
        tmp_path / name, r"checkpoints are \.ckpt, \.pt, \.pth, \.bin, \.safetensors, \.index\.json"
    )


JUNK = [
    b"",
    b"PK",
    b"PK\x03\x04 and so on",
    b"hello world\nand more",
    b"<!DOCTYPE html>",
    b"\x80\x02",
]


@pytest.mark.parametrize("junk", JUNK, ids=repr)
@pytest.mark.parametrize("suffix", [".ckpt", ".pt", ".safetensors"])
def test_a_file_that_is_no_checkpoint(junk: bytes, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"junk{suffix}"
    path.write_bytes(junk)
    message = refused(path, rf"\({len(junk)} bytes\) is not a checkpoint, or is truncated: ")
    assert "weights_only" not in message


@pytest.mark.parametrize("save", [bare, lightning, legacy, safe])
@pytest.mark.parametrize("kept", [0.01, 0.5, 0.99])
def test_a_truncated_file(
    save: Callable[[State, Path], Path], kept: float, state: State, tmp_path: Path
) -> None:
    path = save(state, tmp_path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    refused(path, "is not a checkpoint, or is truncated.*Fetch it again")


class Malice:
    """Unpickled without care, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.command = f"touch {path}"

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (self.command,)


def malicious_zip(mark: Path, state: State, path: Path) -> None:
    torch.save({"state_dict": state, "callbacks": Malice(mark)}, path)


def malicious_legacy(mark: Path, state: State, path: Path) -> None:
    torch.save({"state_dict": state, "x": Malice(mark)}, path, _use_new_zipfile_serialization=False)


def malicious_pickle(mark: Path, state: State, path: Path) -> None:
    path.write_bytes(pickle.dumps(Malice(mark), protocol=2))


@pytest.mark.parametrize("make", [malicious_zip, malicious_legacy, malicious_pickle])
def test_a_pickle_with_code_is_refused_and_not_run(
    make: Callable[[Path, State, Path], None], state: State, tmp_path: Path
) -> None:
    path, mark = tmp_path / "evil.ckpt", tmp_path / "mark"
    make(mark, state, path)
    refused(path, r"was refused: .*posix\.system.* can run code.*convert it")
    assert not mark.exists()


def test_a_newer_pickle_with_code_is_not_run_either(tmp_path: Path) -> None:
    path, mark = tmp_path / "evil.ckpt", tmp_path / "mark"
    path.write_bytes(pickle.dumps(Malice(mark), protocol=4))
    refused(path, "is not a checkpoint")
    assert not mark.exists()


def test_a_newer_pickle_protocol_is_refused_with_advice(state: State, tmp_path: Path) -> None:
    refused(
        saved(state, tmp_path / "a.pt", pickle_protocol=4), "save it with torch.save's defaults"
    )


def test_the_malice_would_have_worked(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    pickle.load(io.BytesIO(pickle.dumps(Malice(mark))))
    assert mark.exists()


def test_a_type_that_torch_does_not_trust_is_named(state: State, tmp_path: Path) -> None:
    path = saved({"state_dict": state, "run": PurePosixPath("a")}, tmp_path / "a.ckpt")
    refused(path, r"besides tensors it holds pathlib\.(_local\.)?PurePosixPath.*safetensors")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ([1, 2], "holds an object of type list, not weights"),
        (torch.zeros(3), "holds an object of type Tensor, not weights"),
        ({}, "holds nothing, not weights"),
        ({"state_dict": {}}, "holds nothing, not weights"),
        ({"state_dict": 5}, "holds an object of type int"),
        ({"model": {"a": torch.zeros(1)}}, "does not fit"),
        ({"other": {"a": torch.zeros(1)}}, "an object of type dict at key 'other'"),
        ({3: torch.zeros(1)}, "at key 3"),
        ({"a": None}, "an object of type NoneType at key 'a'"),
    ],
)
def test_content_that_is_not_weights(content: object, match: str, tmp_path: Path) -> None:
    refused(saved(content, tmp_path / "a.ckpt"), match)


def test_missing_unexpected_and_mis_shaped_keys_are_listed(state: State, tmp_path: Path) -> None:
    for key in [key for key in state if key.startswith("encoder.mid")]:
        del state[key]
    state["encoder.extra.weight"] = torch.zeros(2)
    state["decoder.conv_out.conv.bias"] = torch.zeros(7)
    message = refused(bare(state, tmp_path), f"does not fit {NAME}, nor any other variant")
    missing = sum(key.startswith("encoder.mid") for key in shapes_of(VARIANT))
    assert f"{missing} missing: encoder.mid.block_1.norm1.norm.weight, " in message
    assert f" and {missing - 8} more; 1 unexpected: encoder.extra.weight; " in message
    assert "1 of the wrong shape: decoder.conv_out.conv.bias is [7], not [3]." in message


def test_an_extra_key_alone_is_refused(state: State, tmp_path: Path) -> None:
    state["lossy.weight"] = torch.zeros(1)  # begins like loss., and is not
    refused(bare(state, tmp_path), "nor any other variant: 1 unexpected: lossy.weight")


@pytest.mark.parametrize(
    ("holds", "named"),
    [
        ("vidtok_kl_causal_488_8chn", "vidtok_kl_causal_488_8chn,"),
        ("vidtok_kl_causal_444_4chn", "vidtok_kl_causal_444_4chn,"),
        ("vidtok_kl_noncausal_488_4chn", "vidtok_kl_noncausal_488_4chn,"),
        (
            "vidtok_fsq_causal_488_32768_v1_1",
            "vidtok_fsq_causal_488_32768 or vidtok_fsq_causal_488_32768_v1_1,",
        ),
    ],
)
def test_another_variant_is_recognised(holds: str, named: str, tmp_path: Path) -> None:
    path = saved({"state_dict": zeros(VARIANTS[holds])}, tmp_path / "a.ckpt")
    message = refused(path, f"is {named} you asked for {NAME}. Pass --variant ", FULL)
    assert message.endswith(f"or the checkpoint of {NAME}.")


def test_the_embedded_weights_are_recognised() -> None:
    path = embedded_file(f"{EMBEDDED.name}.safetensors")
    refused(path, f"is {EMBEDDED.name}, you asked for", FULL)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite(bad: float, state: State, tmp_path: Path) -> None:
    key = "decoder.up.1.block.0.conv1.weight"
    state[key] = state[key].clone()
    state[key][0, 0, 0, 0] = bad
    refused(bare(state, tmp_path), f"NaN or infinite weights in {key}")


def test_float64_weights_beyond_float32(state: State, tmp_path: Path) -> None:
    key = "encoder.conv_in.conv.bias"
    state[key] = torch.full_like(state[key], 1e300, dtype=torch.float64)
    refused(bare(state, tmp_path), f"infinite weights in {key}")


@pytest.mark.parametrize(
    "odd",
    [
        lambda t: t.int(),
        lambda t: t.to(torch.complex64),
        lambda t: t.bool(),
        lambda t: t.to("meta"),
        lambda t: t.to_sparse(),
    ],
)
def test_tensors_that_are_not_plain_weights(
    odd: Callable[[Tensor], Tensor], state: State, tmp_path: Path
) -> None:
    key = "encoder.conv_in.conv.bias"
    state[key] = odd(state[key])
    refused(bare(state, tmp_path), f"stores {key} as torch.*must be dense floating-point")
