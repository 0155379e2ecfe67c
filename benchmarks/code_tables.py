"""Fits the tables with which `record --code entropy` begins: counts and weights.

    python benchmarks/code_tables.py --bundle BUNDLE --data CLIPS --output tables.v1.bin

CLIPS is a folder with clips in it, at any depth, which the bundle's encoder makes tokens of. Counts
are those of all planes together, so that what they say is how scenes stay and change, not what the
planes of one tokenizer mean. Weights are fitted on every seventh clip, with counts that grow as
they do when latents are coded, in runs of eight.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray

from vidtok_edge.runtime.bundle import Bundle
from vidtok_edge.runtime.coding.contexts import (
    DIGITS,
    MOST_TABLES,
    Known,
    digits_of,
    phases_of,
)
from vidtok_edge.runtime.coding.model import ROWS, WEIGHTS
from vidtok_edge.runtime.sources.opening import open_source

RUN = 8
EVERY = 7  # clip: weights are fitted on it
MOST_LATENTS = 16  # of such a clip
MOST = 60  # observations that a row begins with
SCALE, INCREMENT = 16, 16  # counts for each

Tokens = Mapping[str, NDArray[np.int32]]
Group = tuple[int, int, int, NDArray[np.intp], NDArray[np.int32]]


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


def groups(tokens: NDArray[np.int32], levels: tuple[int, ...]) -> Iterator[Group]:
    """Of every group of digits: place in the run, phase, plane, rows [tables, n], digits [n]."""
    phases = phases_of(*tokens.shape[1:])
    digits = [digits_of(latent.reshape(-1), levels) for latent in tokens]
    for number, now in enumerate(digits):
        place = number % RUN
        before = digits[number - 1] if place else None
        twice = digits[number - 2] if place > 1 else None
        for phase in phases:
            known = Known(phase, now, before, twice)
            for plane in range(len(levels)):
                rows = known.rows(plane).copy()
                yield place, phase.number, plane, rows, now[plane, phase.positions]


def counted(tokens: Tokens, levels: tuple[int, ...]) -> NDArray[np.int64]:
    """How often each value stood in each row: int64 [rows, 8]."""
    counts = np.zeros((ROWS, DIGITS), np.int64)
    for latents in tokens.values():
        for _, _, _, rows, digits in groups(latents, levels):
            np.add.at(counts, (rows, digits[None]), 1)
    return counts


def beginning(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """What rows begin with: shares as they were counted, in as many observations as there were, at
    most `MOST`; a third of one for each value comes on top."""
    total = counts.sum(1, keepdims=True) + 8 * 0.3
    shares = (counts + 0.3) / total
    counted = np.rint(shares * np.minimum(total, MOST) * SCALE)
    return np.asarray(np.maximum(1, counted), np.int64)


def fitted_weights(
    tokens: Tokens, levels: tuple[int, ...], first: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Weights in 64ths, [first or later, phase, plane, table]."""
    seen: dict[tuple[int, int, int], list[tuple[torch.Tensor, torch.Tensor]]] = {}
    for latents in list(tokens.values())[::EVERY]:
        counts = first.copy()
        waiting: list[tuple[NDArray[np.intp], NDArray[np.int32]]] = []
        for place, phase, plane, rows, digits in groups(latents[:MOST_LATENTS], levels):
            if not plane:
                for cells in waiting:
                    np.add.at(counts, cells, INCREMENT)
                waiting = []
                counts = first.copy() if not (place or phase) else counts
            logs = np.log(counts[rows])
            logs -= np.log(counts[rows].sum(2, keepdims=True))
            key = int(place > 0), phase, min(plane, 2)
            pair = torch.tensor(logs, dtype=torch.float32), torch.tensor(digits).long()
            seen.setdefault(key, []).append(pair)
            waiting.append((rows, digits[None]))
    weights = np.zeros(WEIGHTS, np.int64)
    for key, pairs in seen.items():
        found = _best(torch.cat([logs for logs, _ in pairs], 1), torch.cat([d for _, d in pairs]))
        weights[key][: len(found)] = np.rint(64 * found).astype(np.int64)
    return weights


def _best(logs: torch.Tensor, digits: torch.Tensor) -> NDArray[np.float64]:
    """The weights of [tables, n, 8] with which n digits cost least."""
    weights = torch.full((len(logs),), 1 / len(logs), requires_grad=True)
    optimiser = torch.optim.LBFGS([weights], max_iter=30)

    def cost() -> torch.Tensor:
        optimiser.zero_grad()
        mixed = torch.einsum("t,tnv->nv", weights, logs)
        loss = torch.nn.functional.cross_entropy(mixed, digits) + 1e-4 * weights.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(cost)  # type: ignore[no-untyped-call]
    return weights.detach().double().numpy()


def fit(tokens: Tokens, levels: tuple[int, ...]) -> bytes:
    """The file: counts [rows, 8], weights, all int16, little-endian."""
    first = beginning(counted(tokens, levels))
    weights = fitted_weights(tokens, levels, first)
    assert weights.shape[-1] == MOST_TABLES
    return np.concatenate([first.reshape(-1), weights.reshape(-1)]).astype("<i2").tobytes()


@click.command()
@click.option("--bundle", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--output", type=click.Path(path_type=Path), required=True)
def main(bundle: Path, data: Path, output: Path) -> None:
    """Fit the tables and write them."""
    torch.manual_seed(0)
    loaded = Bundle.load(bundle)
    tokens = tokens_of_clips(loaded, sorted(data.rglob("*.mp4")))
    output.write_bytes(fit(tokens, loaded.manifest.model.levels))
    click.echo(f"{output}: {sum(map(len, tokens.values()))} latents of {len(tokens)} clips")


if __name__ == "__main__":
    main()
