"""Files that hold other objects become weights alone, with consent, and never without."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from vidtok_edge.errors import CheckpointError, OutputExists, UsageError
from vidtok_edge.export.conversion import convert_checkpoint

TIED = torch.arange(4.0)
STATE: dict[str, Any] = {"encoder.a": TIED, "encoder.b": TIED, "encoder.t": torch.ones(2, 3).t()}


def saved(content: object, folder: Path) -> Path:
    torch.save(content, folder / "a.ckpt")
    return folder / "a.ckpt"


@pytest.mark.parametrize(
    "content",
    [
        {"state_dict": STATE, "run": PurePosixPath("a")},
        {"model": {"state_dict": STATE}, "config": PurePosixPath("a")},
        STATE,
    ],
)
def test_the_tensors_are_kept(content: object, tmp_path: Path) -> None:
    output = tmp_path / "a.safetensors"
    converted = convert_checkpoint(saved(content, tmp_path), output, run_its_code=True)
    assert (converted.tensors, converted.left_out) == (3, ())
    stored = load_file(output)
    assert all(torch.equal(stored[key], value) for key, value in STATE.items())


def test_a_pickled_module_is_its_state(tmp_path: Path) -> None:
    path, output = saved(torch.nn.Linear(2, 3), tmp_path), tmp_path / "a.safetensors"
    assert convert_checkpoint(path, output, run_its_code=True).tensors == 2
    assert set(load_file(output)) == {"weight", "bias"}


def test_what_is_no_tensor_is_counted(tmp_path: Path) -> None:
    path, output = saved(STATE | {"step": 3}, tmp_path), tmp_path / "a.safetensors"
    assert convert_checkpoint(path, output, run_its_code=True).left_out == ("step",)


def test_without_consent_nothing_is_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--run-its-code"):
        convert_checkpoint(tmp_path / "no.ckpt", tmp_path / "a.safetensors")


@pytest.mark.parametrize("content", [[1, 2], {"state_dict": {"a": 1}}, torch.zeros(2)])
def test_a_file_without_weights(content: object, tmp_path: Path) -> None:
    path, output = saved(content, tmp_path), tmp_path / "a.safetensors"
    with pytest.raises(CheckpointError, match="holds no tensors by key"):
        convert_checkpoint(path, output, run_its_code=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.ckpt"]


def test_wrong_calls(tmp_path: Path) -> None:
    path, output = saved(STATE, tmp_path), tmp_path / "a.safetensors"
    with pytest.raises(UsageError, match=r"must end in \.safetensors"):
        convert_checkpoint(path, tmp_path / "a.pt", run_its_code=True)
    with pytest.raises(CheckpointError, match="no file"):
        convert_checkpoint(tmp_path / "no.ckpt", output, run_its_code=True)
    path.with_name("junk.ckpt").write_bytes(b"junk")
    with pytest.raises(CheckpointError, match="cannot be unpickled"):
        convert_checkpoint(path.with_name("junk.ckpt"), output, run_its_code=True)
    output.touch()
    with pytest.raises(OutputExists):
        convert_checkpoint(path, output, run_its_code=True)
