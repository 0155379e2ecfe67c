"""Both step graphs of a bundle, without the streams around them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from vidtok_edge.export.verifying.emulation import write_quick_copy
from vidtok_edge.lowering.interface import KINDS
from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.backends.backend import Backend
from vidtok_edge.runtime.backends.choosing import open_step
from vidtok_edge.runtime.backends.step import Step, poison
from vidtok_edge.runtime.manifest.graphs import Placement, Precision

__all__ = ["StepPair", "open_pair", "poison"]


@dataclass(frozen=True, slots=True)
class StepPair:
    """An encoder and a decoder."""

    encoder: Step
    decoder: Step


@contextmanager
def open_pair(
    bundle: Bundle,
    backend: Backend,
    precision: Precision = "fp32",
    placement: Placement = Placement.ONNXRUNTIME,
    threads: int | None = None,
) -> Iterator[StepPair]:
    """Load two graphs of `bundle`, to compare what they give; closed when the block ends.

    `placement` and `threads` count where ONNX Runtime runs them; engines have their own.
    """
    with ExitStack() as stack:
        steps = []
        for kind in KINDS:
            if backend is Backend.AUTO or backend.placement is Placement.TENSORRT:
                step = bundle.step(kind, backend, precision, to_compare=True)
            else:
                graph, folder = bundle.manifest.graph(kind, precision, placement), bundle.path
                if graph.placement == Placement.TENSORRT:
                    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                    write_quick_copy(bundle.path / graph.file, folder)
                step = open_step(folder, graph, backend, threads=threads, to_compare=True)
            steps.append(stack.enter_context(step))
        yield StepPair(*steps)
