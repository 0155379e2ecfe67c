"""One side of a comparison: a bundle on a backend, in a precision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vidtok_edge.errors import UsageError
from vidtok_edge.runtime.backends.backend import Backend
from vidtok_edge.runtime.backends.step import Step
from vidtok_edge.runtime.bundle import Bundle
from vidtok_edge.runtime.manifest.graphs import Kind

__all__ = ["Side", "sides_of"]


@dataclass(frozen=True, slots=True)
class Side:
    """What runs on one side."""

    bundle: Bundle
    backend: Backend
    precision: str | None
    """Of the graphs; the bundle's first where None."""

    @classmethod
    def parse(cls, bundle: Bundle, text: str) -> Side:
        """`cpu:int8`, or `cpu` in the bundle's first precision. UsageError: no such backend."""
        backend, _, precision = text.partition(":")
        return cls(bundle, Backend.named(backend), precision or None)

    def __str__(self) -> str:
        precision = f":{self.precision}" if self.precision else ""
        return f"{self.backend}{precision} of {self.bundle.path.name}"

    def step(self, kind: Kind, threads: int | None) -> Step:
        """Its encoder or decoder, which gives `latent`, too; raises as `Bundle.step`."""
        return self.bundle.step(kind, self.backend, self.precision, threads, to_compare=True)


def sides_of(bundles: Sequence[Bundle], backends: Sequence[str]) -> tuple[Side, Side]:
    """The side that the other is held to, and the other.

    Args:
        bundles: one for both, or one for each, of the same model and size.
        backends: one for both, or one for each, as `cpu:int8`.

    Raises UsageError: another number, twice the same, or bundles that take other frames.
    """
    if not (1 <= len(bundles) <= 2 and 1 <= len(backends) <= 2):
        raise UsageError(
            f"Two sides are compared, got {len(bundles)} bundle(s) and {len(backends)} backend(s). "
            "Give one or two of each, as: vidtok-edge compare BUNDLE --backends cpu:fp32,cpu:int8"
        )
    first = Side.parse(bundles[0], backends[0])
    second = Side.parse(bundles[-1], backends[-1])
    if first == second:
        raise UsageError(
            f"Both sides are {first}. Give two backends or precisions, as --backends "
            "cpu:fp32,cpu:int8, or a second bundle."
        )
    if others := _others(first.bundle, second.bundle):
        raise UsageError(
            f"{second.bundle.path} is of another model or size than {first.bundle.path}: "
            f"{', '.join(others)} differ. Compare bundles that take the same frames."
        )
    return first, second


def _others(one: Bundle, other: Bundle) -> list[str]:
    facts = ("model", "height", "width", "streams", "chunk", "io")
    return [name for name in facts if getattr(one.manifest, name) != getattr(other.manifest, name)]
