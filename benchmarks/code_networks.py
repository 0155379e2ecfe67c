"""Fits the networks with which `record --code entropy` predicts digits.

    python benchmarks/code_networks.py --bundle BUNDLE --data CLIPS --output networks.v1.bin

CLIPS is a folder with clips in it, at any depth, which the bundle's encoder makes tokens of. A clip
is run through in whole or in runs of eight latents, in turn, and each of its latents is also taken
for the first one of a run. One clip in twelve also stands still for a run, as scenes of training
hardly do. Weights are fitted as real numbers by Adam, and rounded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from vidtok_edge.runtime.bundle import Bundle
from vidtok_edge.runtime.coding.inputs import INPUTS, History, Inputs
from vidtok_edge.runtime.coding.network import MOST, SHIFTS, SIZES, UNIT
from vidtok_edge.runtime.coding.planes import DIGITS, PHASES, digits_of, order_of
from vidtok_edge.runtime.sources.opening import open_source

RUN, STILL = 8, 6  # latents
STILL_EVERY = 12  # clips
SHARE = 0.35  # of the digits that are learned from
BATCH = 2048
RATE, WEIGHT_DECAY = 6e-3, 1e-3
WARM_UP = 200  # steps
FLIPPED = (
    *("before", "twice", "thrice", "near", "value"),
    *("step1", "step2", "step3", "step4", "off1", "off2"),
)
"""Inputs that change their sign with the digits, or how their names begin."""
ONE = 1 << 5  # what 1 is in the outputs of the first two layers

Floats = NDArray[np.float32]
Tokens = Mapping[str, NDArray[np.int32]]
Samples = tuple[NDArray[np.int8], NDArray[np.int8]]
"""Inputs [n, inputs] and digits [n]."""


def tokens_of_clips(bundle: Bundle, clips: Iterable[Path]) -> Tokens:
    """Tokens [n, h, w] of each clip, by its path."""
    size = bundle.manifest.height, bundle.manifest.width
    found = {}
    with bundle.encoder() as encoder:
        for path in clips:
            source = open_source(str(path), size)
            latents = [got for frame in source for got in encoder.push(frame.pixels)]
            source.close()
            latents += encoder.finish()
            found[str(path)] = np.concatenate([got.values for got in latents]).astype(np.int32)
    return found


def runs(tokens: Tokens) -> Iterator[NDArray[np.int32]]:
    """Tokens [n, h, w] that are coded behind one another."""
    for number, latents in enumerate(tokens.values()):
        length = RUN if number % 2 else len(latents)
        yield from (latents[at : at + length] for at in range(0, len(latents), length))
        if number % STILL_EVERY == 0:
            yield np.repeat(latents[-1:], STILL, 0)


def samples(tokens: Tokens, levels: tuple[int, ...]) -> list[Samples]:
    """What each network learns from, as many networks as there are."""
    rng = np.random.default_rng(0)
    found: list[list[Samples]] = [[] for _ in range(2 * PHASES)]
    for latents in runs(tokens):
        past = History(len(levels), latents[0].size)
        for latent in latents:
            digits = digits_of(latent.reshape(-1), levels)
            values = np.zeros((len(levels), latent.size + 1), np.int16)
            values[:, :-1] = 2 * digits - np.array(levels)[:, None] + 1
            blank = History(len(levels), latent.size)
            for later, one in enumerate((blank, past)[: 1 + (past.latents > 0)]):
                order = order_of(*latent.shape)
                every = slice(0, latent.size)
                inputs = Inputs(order, values, one)
                inputs.add_phases(every)
                for plane in range(len(levels)):
                    inputs.add_plane(plane, every)
                for phase in range(PHASES):
                    own = (order.phases == phase) & (rng.random(latent.size) < SHARE)
                    x = inputs.values[:, :, own].reshape(len(INPUTS), -1).T.astype(np.int8)
                    y = digits[:, order.positions[own]].reshape(-1).astype(np.int8)
                    found[PHASES * later + phase].append((x, y))
            past.add(values)
    return [(np.concatenate([x for x, _ in f]), np.concatenate([y for _, y in f])) for f in found]


class Fit:
    """A network of real numbers while it learns.

    Args:
        scales: of inputs, [inputs]: what they are multiplied by.
    """

    def __init__(self, scales: Floats, rng: np.random.Generator) -> None:
        self._scales = scales
        self._weights: list[Floats] = []
        for into, out in pairwise(SIZES):
            spread = np.sqrt(2 / into) * (0.5 if out == DIGITS else 1)
            self._weights += [
                (rng.standard_normal((into, out)) * spread).astype(np.float32),
                np.zeros(out, np.float32),
            ]
        self._means = [np.zeros_like(one) for one in self._weights]
        self._squares = [np.zeros_like(one) for one in self._weights]
        self._steps = 0

    def learn(self, x: Floats, digits: NDArray[np.int64], rate: float) -> float:
        """One step of Adam; nats per digit before it."""
        x = x * self._scales
        first, second, last = self._weights[::2]
        h1 = np.clip(x @ first + self._weights[1], 0, MOST / ONE)
        h2 = np.clip(h1 @ second + self._weights[3], 0, MOST / ONE)
        logits = h2 @ last + self._weights[5]
        likely = np.exp(logits - logits.max(1, keepdims=True))
        likely /= likely.sum(1, keepdims=True)
        at = np.arange(len(digits)), digits
        loss = -float(np.log(likely[at] + 1e-12).mean())
        likely[at] -= 1
        d3 = likely / len(digits)
        d2 = d3 @ last.T * ((h2 > 0) & (h2 < MOST / ONE))
        d1 = d2 @ second.T * ((h1 > 0) & (h1 < MOST / ONE))
        self._steps += 1
        for number, (into, d) in enumerate(((x, d1), (h1, d2), (h2, d3))):
            self._move(2 * number, into.T @ d, rate)
            self._move(2 * number + 1, d.sum(0), rate)
        return loss

    def _move(self, number: int, slope: Floats, rate: float) -> None:
        mean, square = self._means[number], self._squares[number]
        mean += 0.1 * (slope - mean)
        square += 0.01 * (slope * slope - square)
        step = mean / (1 - 0.9**self._steps)
        step /= np.sqrt(square / (1 - 0.99**self._steps)) + 1e-8
        if slope.ndim == 2:
            step += WEIGHT_DECAY * self._weights[number]
        self._weights[number] -= np.float32(rate) * step

    def rounded(self) -> tuple[NDArray[np.int16], NDArray[np.int32]]:
        """Weights [outputs, inputs] of each layer and biases, one behind the other."""
        weights, biases = [], []
        into = 1.0
        for number, shift in enumerate(SHIFTS):
            out = ONE if number < 2 else UNIT / np.log(2)
            scale = out / into * 2**shift
            own = self._weights[2 * number].T * (self._scales if number == 0 else 1)
            weights.append(np.clip(np.rint(own * scale), -32767, 32767).reshape(-1))
            half = 2 ** (shift - 1)  # sums are rounded down
            biases.append(np.rint(self._weights[2 * number + 1] * out * 2**shift) + half)
            into = out
        return np.concatenate(weights).astype(np.int16), np.concatenate(biases).astype(np.int32)


def fitted(
    data: Samples, steps: int, seed: int
) -> tuple[NDArray[np.int16], NDArray[np.int32], float]:
    """Weights, biases, and bits per digit of the last tenth of all steps."""
    inputs, digits = data
    rng = np.random.default_rng(seed)
    fit = Fit((1 / (inputs[::7].astype(np.float32).std(0) + 1)).astype(np.float32), rng)
    flipped = [name.startswith(FLIPPED) for name in INPUTS]
    signs = np.where(flipped, -1, 1).astype(np.float32)
    losses = []
    for step in range(steps):
        some = rng.integers(len(inputs), size=BATCH)
        x, y = inputs[some].astype(np.float32), digits[some].astype(np.int64)
        turn = rng.random(BATCH) < 0.5
        x[turn] *= signs
        y[turn] = DIGITS - 1 - y[turn]
        rate = RATE * min(1, step / WARM_UP) * max(0.01, 0.5 + 0.5 * np.cos(np.pi * step / steps))
        losses.append(fit.learn(x, y, rate))
    return *fit.rounded(), float(np.mean(losses[-steps // 10 :]) / np.log(2))


def fit_all(tokens: Tokens, levels: tuple[int, ...], steps: int) -> bytes:
    """The file, as `network.networks_from_bytes` reads it."""
    weights, biases = [], []
    for number, data in enumerate(samples(tokens, levels)):
        w, b, bits = fitted(data, steps, number)
        click.echo(f"network {number}: {len(data[1])} digits, {bits:.3f} bits each")
        weights.append(w.astype("<i2").tobytes())
        biases.append(b.astype("<i4").tobytes())
    return b"".join(weights + biases)


@click.command()
@click.option("--bundle", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--output", type=click.Path(path_type=Path), required=True)
@click.option("--steps", type=click.IntRange(1), default=16_000, show_default=True)
def main(bundle: Path, data: Path, output: Path, steps: int) -> None:
    """Fit the networks and write them."""
    loaded = Bundle.load(bundle)
    tokens = tokens_of_clips(loaded, sorted(data.rglob("*.mp4")))
    output.write_bytes(fit_all(tokens, loaded.manifest.model.levels, steps))
    click.echo(f"{output}: {sum(map(len, tokens.values()))} latents of {len(tokens)} clips")


if __name__ == "__main__":
    main()
