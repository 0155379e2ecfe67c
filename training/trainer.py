"""The loop that trains: its steps, its schedule, and checkpoints from which it goes on."""

from __future__ import annotations

import math
import os
import pickle
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import torch
from fast_model import FastModel
from moving_pictures import MovingPictures, Window
from muon import Muon
from objective import WEIGHTS, loss_parts
from safetensors.torch import save_file
from torch import Tensor

from vidtok_edge.vidtok_ref import EMBEDDED, VidTok

__all__ = ["CannotGoOn", "NotFinite", "Progress", "Recipe", "Trainer", "save_weights"]

_WARM_UP, _DECAY_FROM = 0.03, 0.5  # as shares of the whole time
_LONGEST_MEMORY = 300  # steps of the averaged weights
_ROW_EVERY = 20  # steps of a row of the curve


class CannotGoOn(Exception):
    """A checkpoint that cannot be resumed."""


class NotFinite(Exception):
    """The loss is no number any more; the weights are those of before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What a run is made with."""

    windows: tuple[Window, ...]
    batch: int
    """Clips of the first window in a step."""
    rate: float
    """The highest learning rate."""
    seconds: float
    """Of training in all, those before a resumption included."""
    precision: str = "bf16"
    seed: int = 0
    steps: int | None = None
    """It also ends after so many."""

    def clips_of(self, window: Window) -> int:
        """How many clips of `window` a step takes."""
        return max(1, round(self.batch * window.batch))

    def rate_at(self, seconds: float) -> float:
        """Warm-up, then constant, then straight to zero."""
        share = seconds / self.seconds
        factor = min(1.0, (share + 1e-3) / _WARM_UP, (1 - share) / (1 - _DECAY_FROM))
        return self.rate * max(0.0, factor)


@dataclass(slots=True)
class Progress:
    """What was done so far, all sittings together."""

    step: int = 0
    seconds: float = 0.0
    clips: int = 0
    frames: int = 0
    curve: list[dict[str, float]] = field(default_factory=list)


class Trainer:
    """A model in training, its optimisers and its averaged weights.

    Args:
        model: in float32 on the device that trains; it is changed.
        compiled: whether torch.compile makes the step faster, after minutes.
    """

    def __init__(self, model: VidTok, recipe: Recipe, *, compiled: bool = False) -> None:
        self.model, self.recipe = model.train().requires_grad_(True), recipe
        self.progress = Progress()
        self.device = next(model.parameters()).device
        dtype = torch.bfloat16 if recipe.precision == "bf16" else torch.float32
        fast = FastModel(model, dtype)
        self._parts: Callable[[Tensor], Tensor] = lambda video: loss_parts(fast, video)
        if compiled:
            self._parts = torch.compile(self._parts, dynamic=False)
        self._weights = torch.tensor(list(WEIGHTS.values()), device=self.device)
        kernels = [p for p in model.parameters() if p.ndim >= 3 and p[0].numel() > 1]
        chosen = {id(p) for p in kernels}
        rest = [p for p in model.parameters() if id(p) not in chosen]
        self._muon = Muon(kernels)
        self._adam = torch.optim.AdamW(rest, betas=(0.9, 0.97), weight_decay=0.0)
        self._averaged = _copy(model.state_dict())
        self._good = _copy(self._averaged)

    @property
    def averaged(self) -> dict[str, Tensor]:
        """The averaged weights as of the last loss that was a number, float32."""
        return self._good

    def loss(self, video: Tensor) -> float:
        """The weighted loss of a batch, without training on it."""
        with torch.no_grad():
            return float((self._parts(video) * self._weights).sum())

    def train(
        self,
        pictures: MovingPictures,
        *,
        save: Callable[[], None] | None = None,
        save_every: float = 60.0,
        tell: Callable[[dict[str, float]], None] = lambda row: None,
    ) -> str:
        """Train until the time or the steps of the recipe are used up, or a signal asks to stop.

        Why it stopped is returned.

        Raises:
            NotFinite: the loss is no number any more.
        """
        recipe, progress = self.recipe, self.progress
        random = Random(recipe.seed * 1_000_003 + progress.step)
        began = saved = time.monotonic()
        before, marked = progress.seconds, (progress.step, progress.seconds)
        often = 1 if self.device.type == "cpu" else 50  # to look at a loss is to wait for it
        sums = torch.zeros(len(WEIGHTS), device=self.device)
        seen = 0
        with _stop_asked() as stop_asked:
            while True:
                progress.seconds = before + time.monotonic() - began
                if stop_asked():
                    return "interrupted"
                if progress.seconds >= recipe.seconds:
                    return "time is up"
                if recipe.steps is not None and progress.step >= recipe.steps:
                    return "steps are done"
                [window] = random.choices(recipe.windows, [w.share for w in recipe.windows])
                size = recipe.clips_of(window)
                sums += self._backward(pictures.batch(random, size, window))
                seen += 1
                if seen % often == 0:
                    self._require_numbers(sums)
                self._update(recipe.rate_at(progress.seconds))
                progress.step += 1
                progress.clips += size
                progress.frames += size * window.frames
                if seen == _ROW_EVERY * math.ceil(often / _ROW_EVERY):
                    steps, seconds = progress.step - marked[0], progress.seconds - marked[1]
                    row = {"step": progress.step, "seconds": round(progress.seconds, 1)}
                    row |= {"seconds_per_step": round(seconds / steps, 3)}
                    values = (sums / seen).tolist()
                    row |= {k: round(v, 5) for k, v in zip(WEIGHTS, values, strict=True)}
                    progress.curve.append(row)
                    tell(row)
                    sums.zero_()
                    seen, marked = 0, (progress.step, progress.seconds)
                if save is not None and time.monotonic() - saved > save_every:
                    save()
                    saved = time.monotonic()

    def _backward(self, video: Tensor) -> Tensor:
        """The parts of the loss, whose gradients are then those of the parameters."""
        self.model.zero_grad(set_to_none=True)
        parts = self._parts(video)
        (parts * self._weights).sum().backward()  # type: ignore[no-untyped-call]
        return parts.detach()

    def _require_numbers(self, sums: Tensor) -> None:
        if not bool(torch.isfinite(sums).all()):
            raise NotFinite(
                f"The loss is no number any more at step {self.progress.step}. The weights of "
                "before are kept; try half the learning rate (--rate) or --precision fp32."
            )
        self._good = _copy(self._averaged)

    def _update(self, rate: float) -> None:
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self._muon.step(rate)
        for group in self._adam.param_groups:
            group["lr"] = rate
        self._adam.step()
        memory = min(_LONGEST_MEMORY, 10 + self.progress.step / 10)
        with torch.no_grad():
            for key, value in self.model.state_dict().items():
                self._averaged[key].lerp_(value, 1 / memory)

    # -- checkpoints

    def save(self, path: Path) -> None:
        """Write what `resume` needs, beside and then renamed. Raises OSError."""
        content = {
            "variant": EMBEDDED.name,
            "model": self.model.state_dict(),
            "averaged": self._averaged,
            "muon": self._muon.buffers,
            "adam": self._adam.state_dict(),
            "progress": asdict(self.progress),
        }
        _write_beside(path, lambda part: torch.save(content, part))

    def resume(self, path: Path) -> None:
        """Go on from a file that `save` wrote.

        Raises:
            CannotGoOn: no such file, a damaged one, or one of another model.
        """
        try:
            content: Any = torch.load(path, map_location=self.device, weights_only=True)
        except FileNotFoundError:
            raise CannotGoOn(f"{path} is missing: there is nothing to resume.") from None
        except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
            raise CannotGoOn(f"{path} cannot be read: {str(error)[:200]}.") from error
        if not isinstance(content, dict) or content.get("variant") != EMBEDDED.name:
            said = content.get("variant") if isinstance(content, dict) else None
            raise CannotGoOn(f"{path} is a checkpoint of {said}; allowed: {EMBEDDED.name}.")
        try:
            progress = Progress(**content["progress"])
            _require_like(content["averaged"], self._averaged)
            self.model.load_state_dict(content["model"])
            for mine, theirs in zip(self._muon.buffers, content["muon"], strict=True):
                mine.copy_(theirs)
            self._adam.load_state_dict(content["adam"])
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise CannotGoOn(
                f"{path} is no checkpoint of this program, or of another version of it: "
                f"{str(error)[:200]}. Start anew in another folder, from its weights: --weights."
            ) from error
        self.progress, self._averaged = progress, dict(content["averaged"])
        self._good = _copy(self._averaged)


def save_weights(state: Mapping[str, Tensor], path: Path) -> None:
    """Write float16 weights with the official keys, beside and then renamed. Raises OSError."""
    halves = {key: value.detach().half().contiguous().cpu() for key, value in state.items()}
    for key, value in halves.items():
        if not bool(torch.isfinite(value).all()):
            raise NotFinite(f"{key} holds values that are no numbers in float16: nothing is saved.")
    metadata = {"variant": EMBEDDED.name}
    _write_beside(path, lambda part: save_file(halves, part, metadata=metadata))
    path.chmod(0o644)  # safetensors makes files that only their owner may read


def _write_beside(path: Path, write: Callable[[Path], object]) -> None:
    part = path.with_name(path.name + ".part")
    try:
        try:
            write(part)
        except RuntimeError as error:  # torch's, of a disk that is full
            raise OSError(f"{part} cannot be written: {error}") from error
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _copy(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.detach().clone() for key, value in state.items()}


def _require_like(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    if state.keys() != wanted.keys():
        raise KeyError(f"keys differ: {sorted(state.keys() ^ wanted.keys())[:3]}")
    for key, value in state.items():
        if value.shape != wanted[key].shape:
            raise ValueError(f"{key} is {list(value.shape)}, not {list(wanted[key].shape)}")


@contextmanager
def _stop_asked() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C or SIGTERM asked to stop meanwhile: a step is never cut in two."""
    asked: list[int] = []

    def note(number: int, _: object) -> None:
        asked.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
