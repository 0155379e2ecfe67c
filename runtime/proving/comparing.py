"""A run against the golden stream: figures, limits, and what differs first."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.runtime.manifest.graphs import Kind, Precision
from vidtok_edge.runtime.manifest.manifest import Manifest
from vidtok_edge.runtime.proofs import Difference
from vidtok_edge.runtime.proving.golden import GoldenStream
from vidtok_edge.runtime.proving.running import Run
from vidtok_edge.runtime.streaming.framing import Framing

__all__ = ["BEST_DB", "Comparison", "Limit", "Metric", "limit_of", "pooled", "scores"]

BEST_DB = 99.0
"""Of what is equal: JSON has no infinity."""

Metric = Literal["tokens", "dB"]
"""What is compared: the share of equal tokens, or dB of a signal over its error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """What a precision may cost in one half.

    Attributes:
        least: share of equal tokens, or dB.
        slack: how far below it what the export did not stream may lie.
        tokens_differ: as many may differ whatever their share is: a small grid has few.
        margin: levels from a boundary; no token may differ that lies further away. None: any may.
    """

    least: float
    slack: float = 0.0
    tokens_differ: int = 0
    margin: float | None = None


_FP32: Mapping[Metric, Limit] = {
    "tokens": Limit(least=0.999, tokens_differ=2, margin=0.01),
    "dB": Limit(least=50.0),
}
_LESS: Mapping[Precision, Mapping[Metric, float]] = {
    "fp16": {"tokens": 0.005, "dB": 1.0},
    "int8": {"tokens": 0.05, "dB": 2.0},
}
"""How far below what ONNX Runtime gave at the export a device may be."""
_ENOUGH: Mapping[Metric, float] = {"tokens": 0.99, "dB": 40.0}
"""More is not asked of FP16 and INT8, whatever ONNX Runtime gave."""


def limit_of(precision: Precision, metric: Metric, given: Sequence[float]) -> Limit:
    """The limit of a precision (docs/prove.md has them).

    Args:
        precision: of the graph.
        metric: what is compared.
        given: what ONNX Runtime gave at the export, of each latent or picture; not for fp32.
    """
    if precision == "fp32":
        return _FP32[metric]
    less = _LESS[precision][metric]
    least = min(_ENOUGH[metric], pooled(metric, given) - less)
    return Limit(least=least, slack=less, tokens_differ=4 if metric == "tokens" else 0)


def scores(golden: GoldenStream, kind: Kind, items: Sequence[NDArray[Any]]) -> list[float]:
    """Of each item of a run the share of equal tokens, or dB against the reference's."""
    if kind == "encoder" and golden.margin is not None:
        pairs = zip(items, golden.latents, strict=False)
        return [float(np.mean(got == wanted)) for got, wanted in pairs]
    if kind == "encoder":
        power = float(np.mean(golden.latents.astype(np.float64) ** 2)) or 1.0
        return [_db(a, b, power) for a, b in zip(items, golden.latents, strict=False)]
    return [_db(a, b, 255.0**2) for a, b in zip(items, golden.samples, strict=False)]


def pooled(metric: Metric, values: Sequence[float]) -> float:
    """The mean share, or dB of the mean of the squared errors that the values are of."""
    if metric == "tokens":
        return sum(values) / len(values)
    return -10 * math.log10(sum(10 ** (-value / 10) for value in values) / len(values))


def _db(got: NDArray[Any], wanted: NDArray[Any], power: float) -> float:
    error = float(np.mean((got.astype(np.float64) - wanted) ** 2))
    if not math.isfinite(error):
        return -BEST_DB
    if error == 0:
        return BEST_DB
    return max(-BEST_DB, min(BEST_DB, 10 * math.log10(power / error)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One half of a bundle, as it ran, beside the golden stream.

    Attributes:
        golden: the stream.
        manifest: of the bundle.
        kind: which half.
        run: what it gave.
        limit: what it may cost.
        given: what ONNX Runtime gave of the first items at the export; empty for fp32.
    """

    golden: GoldenStream
    manifest: Manifest
    kind: Kind
    run: Run
    limit: Limit
    given: tuple[float, ...]

    @property
    def metric(self) -> Metric:
        """What is compared."""
        return "tokens" if self._is_tokens else "dB"

    @property
    def value(self) -> float:
        """Over all items."""
        values = self.scores
        return pooled(self.metric, values) if values else 0.0

    @property
    def least(self) -> float:
        """What `value` must be at least."""
        if not self._is_tokens:
            return self.limit.least
        return min(self.limit.least, 1 - self.limit.tokens_differ / self.golden.latents.size)

    @property
    def scores(self) -> list[float]:
        """Of each item."""
        return scores(self.golden, self.kind, self.run.items)

    @property
    def flips(self) -> NDArray[np.float64]:
        """Of each token that is not the reference's, how far that was from a boundary, levels."""
        margin = self.golden.levels_from_boundary()
        if not self._is_tokens or margin is None or len(self.run.items) != len(margin):
            return np.zeros(0)
        flips: NDArray[np.float64] = margin[np.stack(self.run.items) != self.golden.latents]
        return flips

    def differences(self) -> list[Difference]:
        """What must not be, the first in the stream first."""
        wanted = len(self.golden.latents if self.kind == "encoder" else self.golden.samples)
        if len(self.run.items) != wanted:
            what = "latents" if self.kind == "encoder" else "pictures"
            text = f"{self.kind}: {len(self.run.items)} {what} came out, expected {wanted}"
            return [Difference(kind=self.kind, latent=0, text=text)]
        found = [*self._against_reference(), *self._second_run(), *self._slots()]
        return sorted(found, key=lambda difference: difference.latent)

    @property
    def runs_equal(self) -> bool:
        """Whether the second run gave the same bits as the first."""
        return not list(self._second_run())

    @property
    def slots_equal(self) -> bool | None:
        """Whether slots that were reset gave the bits of slot 0; None where there is one slot."""
        return None if self.manifest.streams == 1 else not list(self._slots())

    @property
    def bit_equal(self) -> int:
        """How many latents or pictures are those of the reference, bit for bit."""
        if self.kind == "decoder":
            pairs = zip(self.run.digests[0], self.golden.facts.pictures_sha256, strict=False)
            return sum(got == wanted for got, wanted in pairs)
        return sum(
            bool(np.array_equal(got, wanted))
            for got, wanted in zip(self.run.items, self.golden.latents, strict=False)
        )

    @property
    def _is_tokens(self) -> bool:
        return self.kind == "encoder" and self.golden.margin is not None

    def _against_reference(self) -> Iterator[Difference]:
        if self._is_tokens and self.limit.margin is not None:
            yield from self._far_flips(self.limit.margin)
        values, known = self.scores, len(self.given) or len(self.run.items)
        allowed = self.least
        for begin, end, least in (
            (0, known, allowed),
            (known, len(values), allowed - self.limit.slack),
        ):
            part = values[begin:end]
            if part and pooled(self.metric, part) < least:
                yield self._fallen(values, begin, end, least)
                return

    def _far_flips(self, limit: float) -> Iterator[Difference]:
        margin = self.golden.levels_from_boundary()
        assert margin is not None
        for latent, (got, wanted) in enumerate(
            zip(self.run.items, self.golden.latents, strict=True)
        ):
            far = margin[latent][got != wanted]
            if far.size and far.max() >= limit:
                yield self._difference(
                    latent,
                    f"{far.size} of {got.size} tokens are not the reference's, which lie up to "
                    f"{far.max():.2f} levels from a boundary; allowed are {limit:g}",
                )
                return

    def _fallen(self, values: Sequence[float], begin: int, end: int, least: float) -> Difference:
        """Where what fell below its limit did so first: there, or where it fell the most."""
        expected, step = [least] * len(values), 0.0
        if self.given:  # single items differ from one another by as much
            expected[: len(self.given)] = self.given
            step = max(0.1, 1.5 / self.golden.latents[0].size) if self._is_tokens else 3.0
        falls = [expected[i] - values[i] for i in range(begin, end)]
        first = next((i for i, fall in enumerate(falls) if fall > step), int(np.argmax(falls)))
        item, whole = begin + first, pooled(self.metric, values[begin:end])
        if self._is_tokens:
            text = (
                f"{values[item]:.1%} of the tokens are the reference's; of all {whole:.2%}, at "
                f"least {least:.2%} must be"
            )
        else:
            text = f"{values[item]:.1f} dB; over all {whole:.1f} dB, at least {least:.1f} must be"
        return self._difference(item, text)

    def _second_run(self) -> Iterator[Difference]:
        first = self.run.digests[0]
        for item, digest in enumerate(self.run.again):
            if item >= len(first) or digest != first[item]:
                yield self._difference(
                    item, "a second run, over caches full of NaN, gives other bits", "second run"
                )
                return

    def _slots(self) -> Iterator[Difference]:
        first = self.run.digests[0]
        for slot in range(1, self.manifest.streams):
            digests = self.run.digests.get(slot, [])
            for item, digest in enumerate(first):
                if item >= len(digests) or digests[item] != digest:
                    yield self._difference(
                        item,
                        f"slot {slot} gives other bits than slot 0",
                        f"slot {slot} after its reset",
                    )
                    break

    def _difference(self, item: int, text: str, phase: str = "") -> Difference:
        """`item` is a latent of an encoder, a picture of a decoder."""
        facts = self.golden.facts
        if self.kind == "encoder":
            latent, place, latents = item, f"latent {item}", facts.latents
        else:
            latent = Framing.of(self.manifest.model).latents(item + 1) - 1
            place, latents = f"picture {item} of latent {latent}", facts.decoder_latents
        phase = ", ".join(filter(None, [facts.phase_of(latent, latents), phase]))
        return Difference(
            kind=self.kind, latent=latent, text=f"{self.kind}, {place} ({phase}): {text}"
        )
