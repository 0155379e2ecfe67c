"""Training that is interrupted, damaged or short of space."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from moving_pictures import MovingPictures, Window
from safetensors.torch import load_file
from torch import Tensor
from trainer import CannotGoOn, NotFinite, Recipe, Trainer, save_weights

from vidtok_edge.vidtok_ref import EMBEDDED, embedded_file, load_weights

WINDOW = Window(frames=5, height=16, width=16, share=1.0)


@pytest.fixture(scope="module")
def pictures() -> MovingPictures:
    random = np.random.default_rng(0)
    return MovingPictures({"film": [random.integers(0, 256, (9, 32, 32, 3), np.uint8)]}, [WINDOW])


def recipe(steps: int | None, seconds: float = 1e6) -> Recipe:
    return Recipe(
        windows=(WINDOW,), batch=1, rate=1e-3, seconds=seconds, steps=steps, precision="fp32"
    )


def trainer_of(steps: int | None) -> Trainer:
    return Trainer(load_weights("fsq", None)[0], recipe(steps))


def test_the_rate_rises_stays_and_falls_to_zero() -> None:
    rates = [recipe(None, 100.0).rate_at(s) for s in (0, 1, 3, 30, 50, 75, 100, 101)]
    assert rates[0] < rates[1] < rates[2] == rates[3] == rates[4] == 1e-3
    assert rates[5] == pytest.approx(5e-4) and rates[6:] == [0.0, 0.0]


def test_weights_change_and_averages_follow(pictures: MovingPictures) -> None:
    trainer = trainer_of(3)
    before = {k: v.clone() for k, v in trainer.model.state_dict().items()}
    assert trainer.train(pictures) == "steps are done"
    after = trainer.model.state_dict()
    assert trainer.progress.step == 3 and trainer.progress.frames == 15
    assert all(not torch.equal(before[k], after[k]) for k in before if before[k].numel() > 1)
    for key, value in trainer.averaged.items():
        low, high = torch.minimum(before[key], after[key]), torch.maximum(before[key], after[key])
        margin = 2 * (high - low).max() + 1e-6
        assert bool(((value >= low - margin) & (value <= high + margin)).all())


def test_it_goes_on_where_it_was(pictures: MovingPictures, tmp_path: Path) -> None:
    whole = trainer_of(4)
    whole.train(pictures)
    first = trainer_of(2)
    first.train(pictures)
    first.save(tmp_path / "checkpoint.pt")
    second = trainer_of(4)
    second.resume(tmp_path / "checkpoint.pt")
    assert second.progress.step == 2
    assert second.train(pictures) == "steps are done"
    assert second.progress.step == 4
    assert second.progress.seconds > first.progress.seconds
    # the optimisers' state came along: only the batches drawn after it differ
    for key, value in second.averaged.items():
        assert value.shape == whole.averaged[key].shape
    for mine, theirs in zip(second._muon.buffers, first._muon.buffers, strict=True):
        assert not torch.equal(mine, torch.zeros_like(mine)) and not torch.equal(mine, theirs)


def test_a_signal_ends_it_between_two_steps(pictures: MovingPictures) -> None:
    trainer, before = trainer_of(1000), signal.getsignal(signal.SIGINT)
    taken = 0

    def draw(random: Random, size: int, window: Window) -> Tensor:
        nonlocal taken
        taken += 1
        if taken == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return pictures.batch(random, size, window)

    class Interrupting:
        batch = staticmethod(draw)

    made: Any = Interrupting()
    assert trainer.train(made) == "interrupted"
    assert trainer.progress.step == 2
    assert signal.getsignal(signal.SIGINT) is before


def test_a_loss_that_is_no_number_keeps_the_weights_before(pictures: MovingPictures) -> None:
    trainer, steps = trainer_of(5), 0
    update = trainer._update

    def poisoned(rate: float) -> None:
        nonlocal steps
        update(rate)
        steps += 1
        if steps == 2:
            next(trainer.model.parameters()).data.mul_(float("nan"))

    trainer._update = poisoned  # type: ignore[method-assign]
    with pytest.raises(NotFinite, match="step 2"):
        trainer.train(pictures)
    assert all(bool(torch.isfinite(v).all()) for v in trainer.averaged.values())


def test_weights_that_are_no_numbers_are_not_saved(tmp_path: Path) -> None:
    state = {"a": torch.tensor([1.0, 1e6])}
    with pytest.raises(NotFinite, match="a holds values"):
        save_weights(state, tmp_path / "a.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_what_is_saved_is_what_ships(tmp_path: Path) -> None:
    shipped = embedded_file(f"{EMBEDDED.name}.safetensors")
    path = tmp_path / shipped.name
    save_weights({k: v.float() for k, v in load_file(shipped).items()}, path)
    mine, theirs = load_file(path), load_file(shipped)
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[k], theirs[k]) and mine[k].dtype == torch.float16 for k in mine)
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("torch's")])
def test_a_full_disk_leaves_the_last_checkpoint(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, path = trainer_of(1), tmp_path / "checkpoint.pt"
    trainer.save(path)
    whole = path.read_bytes()

    def half(content: object, part: Path) -> None:
        part.write_bytes(b"half")
        raise error

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(OSError):
        trainer.save(path)
    assert path.read_bytes() == whole and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", ["missing", "damaged", "foreign", "variant", "shapes", "keys"])
def test_checkpoints_that_cannot_be_resumed(kind: str, tmp_path: Path) -> None:
    trainer, path = trainer_of(1), tmp_path / "checkpoint.pt"
    trainer.save(path)
    content: Any = torch.load(path, weights_only=True)
    said = "no checkpoint of this program"
    if kind == "missing":
        path.unlink()
        said = "missing"
    elif kind == "damaged":
        path.write_bytes(path.read_bytes()[:5000])
        said = "cannot be read"
    elif kind == "foreign":
        torch.save([1, 2], path)
        said = "a checkpoint of None"
    elif kind == "variant":
        torch.save({**content, "variant": "vidtok_kl"}, path)
        said = f"a checkpoint of vidtok_kl; allowed: {EMBEDDED.name}"
    elif kind == "shapes":
        key = next(iter(content["averaged"]))
        content["averaged"][key] = torch.zeros(1, 2, 3)
        torch.save(content, path)
    else:
        del content["progress"]
        torch.save(content, path)
    before = trainer.averaged
    with pytest.raises(CannotGoOn, match=said):
        trainer.resume(path)
    assert trainer.averaged is before and trainer.progress.step == 0
