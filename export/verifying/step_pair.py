"""Both step graphs of a bundle, without the streams around them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vidtok_edge.lowering.interface import KINDS
from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.backends.choosing import open_step
from vidtok_edge.runtime.backends.step import Step
from vidtok_edge.runtime.manifest.graphs import Precision

__all__ = ["StepPair", "open_pair", "poison"]


@dataclass(frozen=True, slots=True)
class StepPair:
    """An encoder and a decoder."""

    encoder: Step
    decoder: Step


@contextmanager
def open_pair(
    bundle: Bundle,
    backend: str,
    precision: Precision = "fp32",
    placement: Literal["onnxruntime", "tensorrt"] = "onnxruntime",
) -> Iterator[StepPair]:
    """Load two graphs of `bundle`, to compare what they give; closed when the block ends.

    `auto` is ONNX Runtime here: engines are verified when they are asked for.
    """
    with ExitStack() as stack:
        steps = []
        for kind in KINDS:
            if backend.startswith("tensorrt"):
                step = bundle.step(kind, backend, precision, to_compare=True)
            else:
                graph = bundle.manifest.graph(kind, precision, placement)
                name = "onnxruntime" if backend == "auto" else backend
                step = open_step(bundle.path, graph, name, to_compare=True)
            steps.append(stack.enter_context(step))
        yield StepPair(*steps)


def poison(step: Step) -> None:
    """Fill the caches with what must never come out again."""
    step.set_caches(
        {
            name: np.full_like(value, np.nan if value.dtype.kind == "f" else 1)
            for name, value in step.caches().items()
        }
    )
