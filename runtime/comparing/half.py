"""One half of both sides, streamed beside one another: every call, its caches and its results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.runtime.backends.step import BackendInfo
from vidtok_edge.runtime.comparing.cache_pairs import CachePair, cache_pairs
from vidtok_edge.runtime.comparing.decibels import BEST_DB, decibels
from vidtok_edge.runtime.comparing.limits import least_inside, least_of_results
from vidtok_edge.runtime.comparing.pair_step import PairStep
from vidtok_edge.runtime.comparing.side import Side
from vidtok_edge.runtime.manifest.graphs import GraphSpec, Kind
from vidtok_edge.runtime.proving.comparing import Metric, pooled
from vidtok_edge.runtime.proving.golden import GoldenStream
from vidtok_edge.runtime.proving.scenes import as_bytes
from vidtok_edge.runtime.streaming.decoder import StreamDecoder
from vidtok_edge.runtime.streaming.encoder import StreamEncoder

__all__ = ["CallCase", "Half", "HalfDifference", "Seen", "captured_call", "compared_half"]

Array = NDArray[Any]

_BETWEEN = ("latent", "mean", "logvar")
"""Results that are numbers, as what is inside."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A tensor that came out of one call on both sides. Truthy where it is within its limit."""

    name: str
    """`latent`, or `the cache of encoder.mid.block_1.conv1`."""
    tensor: str
    """The output of the second side's graph."""
    db: float
    """Signal of the first side over the error of the second."""
    least: float

    def __bool__(self) -> bool:
        return self.db >= self.least


@dataclass(frozen=True, slots=True)
class HalfDifference:
    """What differs first."""

    call: int
    """From 0."""
    tensor: str
    """The output of the second side's graph: a new cache, or a result."""
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Half:
    """How one half went. Truthy where nothing differs beyond its limit."""

    kind: Kind
    graphs: tuple[GraphSpec, GraphSpec]
    infos: tuple[BackendInfo, BackendInfo]
    seen: tuple[tuple[Seen, ...], ...]
    """Of each call, in the order of the graph."""
    metric: Metric
    """What `results` and `least` are: the share of equal tokens, or dB."""
    results: tuple[float, ...]
    """Of each call."""
    least: float
    """That all results together must have."""
    phases: tuple[str, ...]
    """What the stream does in each call."""

    @property
    def value(self) -> float:
        """Of all results."""
        return pooled(self.metric, self.results)

    @property
    def lowest(self) -> tuple[int, Seen]:
        """The call and the tensor inside that differ most; the first call where none can be
        compared."""
        everything = [(call, seen) for call, all_ in enumerate(self.seen) for seen in all_]
        nothing = (0, Seen("nothing", "", BEST_DB, 0.0))
        return min(everything, key=lambda item: item[1].db, default=nothing)

    @property
    def difference(self) -> HalfDifference | None:
        """The first call in which something differs beyond its limit, and the first there."""
        found = [*self._inside(), *self._results()]
        return min(found, key=lambda difference: difference.call, default=None)

    def _inside(self) -> Iterator[HalfDifference]:
        for call, all_ in enumerate(self.seen):
            for seen in all_:
                if not seen:
                    text = f"{seen.name} has {seen.db:.1f} dB, at least {seen.least:.1f} must be"
                    yield self._difference(call, seen.tensor, text)
                    return

    def _results(self) -> Iterator[HalfDifference]:
        if self.value >= self.least:
            return
        slack = 0.1 if self.metric == "tokens" else 3.0  # calls differ by as much
        fallen = (i for i, value in enumerate(self.results) if value < self.least - slack)
        call = next(fallen, int(np.argmin(self.results)))
        yield self._difference(
            call,
            self.result,
            f"{self.result}: {self._told(self.results[call])} in this call, "
            f"{self._told(self.value)} in all; at least {self._told(self.least)} must be",
        )

    @property
    def result(self) -> str:
        """The name of what comes out in the end: `tokens`, `mean`, `frames`."""
        if self.kind == "decoder":
            return "frames"
        return "tokens" if self.metric == "tokens" else "mean"

    def __bool__(self) -> bool:
        return self.difference is None

    def _told(self, value: float) -> str:
        return f"{value:.1%} equal" if self.metric == "tokens" else f"{value:.1f} dB"

    def _difference(self, call: int, tensor: str, text: str) -> HalfDifference:
        place = f"{self.kind}, call {call} ({self.phases[call]})"
        return HalfDifference(call, tensor, f"{place}: {text}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CallCase:
    """What both sides are given in one call, so that it can be looked at layer by layer."""

    graphs: tuple[GraphSpec, GraphSpec]
    first: Mapping[str, Array]
    """Every input of the first side's graph, with the caches that it had."""
    second: Mapping[str, Array]
    """The same for the second side's: the first's caches as its own would hold them."""


def compared_half(
    kind: Kind,
    sides: tuple[Side, Side],
    golden: GoldenStream,
    frames: Sequence[Array],
    *,
    threads: int | None,
    told: Callable[[], None],
) -> Half:
    """Stream one half of both sides; slot 0 alone.

    Args:
        kind: which half.
        sides: what runs.
        golden: the stream, for the decoder's tokens and the limits.
        frames: what goes into an encoder, each [H, W, 3].
        threads: CPU threads of a call; ONNX Runtime's choice where None.
        told: called with each item that went in.

    Raises GoldenStreamError; BundleError, MissingFromEnvironment: a side does not run here.
    """
    seen, results = list[tuple[Seen, ...]](), list[float]()
    with _pair(kind, sides, threads) as pair:
        graphs = (pair.first.graph, pair.second.graph)
        pairs = _cache_pairs(sides, graphs)
        least = least_inside(*(graph.precision for graph in graphs))
        metric: Metric = "tokens" if "tokens" in pair.outputs else "dB"

        def after(pair: PairStep) -> None:
            seen.append(tuple(_inside(pair, pairs, least)))
            results.append(_score(pair, metric))

        watched = PairStep(pair.first, pair.second, after=after)
        _stream(kind, sides[0], watched, golden, frames, told)
        infos = (pair.first.info, pair.second.info)
    count = golden.latents.size if metric == "tokens" else 1
    return Half(
        kind=kind,
        graphs=graphs,
        infos=infos,
        seen=tuple(seen),
        metric=metric,
        results=tuple(results),
        least=least_of_results(metric, golden, graphs, count),
        phases=tuple(_phases(kind, golden, sides[0].bundle.manifest.chunk, len(seen))),
    )


class _Reached(Exception):
    """The call that was waited for."""


def captured_call(
    kind: Kind,
    sides: tuple[Side, Side],
    golden: GoldenStream,
    frames: Sequence[Array],
    call: int,
    *,
    threads: int | None,
) -> CallCase:
    """What goes into call `call` of the first side, for both; arguments as `compared_half`.

    Slots that take no part are given zeros.
    """
    found: list[CallCase] = []
    with _pair(kind, sides, threads) as pair:
        graphs = (pair.first.graph, pair.second.graph)
        pairs = _cache_pairs(sides, graphs)

        def before(pair: PairStep) -> None:
            if pair.calls == call:
                found.append(_case(pair, graphs, pairs))
                raise _Reached

        watched = PairStep(pair.first, pair.second, before=before)
        with suppress(_Reached):
            _stream(kind, sides[0], watched, golden, frames, lambda: None)
    return found[0]


def _pair(kind: Kind, sides: tuple[Side, Side], threads: int | None) -> PairStep:
    with ExitStack() as opened:
        steps = [opened.enter_context(side.step(kind, threads)) for side in sides]
        for step in steps:  # ones: a start that reads them is seen, and every run is the same
            step.set_caches({name: np.ones_like(value) for name, value in step.caches().items()})
        opened.pop_all()
    return PairStep(*steps)


def _cache_pairs(
    sides: tuple[Side, Side], graphs: tuple[GraphSpec, GraphSpec]
) -> tuple[CachePair, ...]:
    paths = [side.bundle.folder_of(g) / g.file for side, g in zip(sides, graphs, strict=True)]
    return cache_pairs(graphs[0], paths[0], graphs[1], paths[1])


def _stream(
    kind: Kind,
    side: Side,
    pair: PairStep,
    golden: GoldenStream,
    frames: Sequence[Array],
    told: Callable[[], None],
) -> None:
    manifest = side.bundle.manifest
    if kind == "encoder":
        encoder = StreamEncoder(manifest, pair)
        for frame in frames:
            encoder.push(frame)
            told()
        encoder.finish()
        return
    decoder = StreamDecoder(manifest, pair)
    for value in golden.decoder_values():
        decoder.push_values(value[None])
        told()
    decoder.finish()


def _inside(pair: PairStep, pairs: Sequence[CachePair], least: float) -> Iterator[Seen]:
    """The caches that the call left, and what an encoder gives beside its tokens."""
    first, second = pair.first.caches(), pair.second.caches()
    for cache in pairs:
        db = decibels(*cache.real(first, second))
        yield Seen(f"the cache of {cache.layer}", cache.second.new, db, least)
    for name in _BETWEEN:
        if name in pair.first.outputs and name in pair.second.outputs:
            db = decibels(pair.first.outputs[name][0], pair.second.outputs[name][0])
            yield Seen(name, name, db, least)


def _score(pair: PairStep, metric: Metric) -> float:
    one, other = pair.first.outputs, pair.second.outputs
    if metric == "tokens":
        return float(np.mean(one["tokens"][0] == other["tokens"][0]))
    if "frames" not in one:
        return decibels(one["mean"][0], other["mean"][0])
    pixels = [as_bytes(outputs["frames"][0]).astype(np.float64) for outputs in (one, other)]
    error = float(np.mean((pixels[0] - pixels[1]) ** 2))
    return BEST_DB if error == 0 else float(10 * np.log10(255.0**2 / error))


def _phases(kind: Kind, golden: GoldenStream, chunk: int, calls: int) -> Iterator[str]:
    facts = golden.facts
    latents = facts.latents if kind == "encoder" else facts.decoder_latents
    for call in range(calls):
        yield facts.phase_of(min(call * chunk, latents - 1), latents)


def _case(
    pair: PairStep, graphs: tuple[GraphSpec, GraphSpec], pairs: Sequence[CachePair]
) -> CallCase:
    host = {name: value.copy() for name, value in pair.inputs.items()}
    first = {name: _only_slot_0(value) for name, value in pair.first.caches().items()}
    # Flags, and what has no counterpart: as the second side has it.
    second = {name: _only_slot_0(value) for name, value in pair.second.caches().items()}
    second |= {cache.second.spec.name: cache.for_second(first) for cache in pairs}
    return CallCase(graphs=graphs, first={**first, **host}, second={**second, **host})


def _only_slot_0(value: Array) -> Array:
    kept = np.zeros_like(value)
    kept[0] = value[0]
    return kept
