"""What workers do: graphs by PyTorch's exporter, engines by one builder of TensorRT."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from engine_trials.trial import Trial
from vidtok_edge.runtime.files import write_beside
from vidtok_edge.runtime.folders import write_folder_beside

__all__ = [
    "BuiltEngine",
    "EngineBuilder",
    "GraphWriter",
    "WrittenGraph",
    "engine_path",
    "graph_path",
]


@dataclass(frozen=True, slots=True)
class WrittenGraph:
    """A graph that was written."""

    seconds: float
    operators: dict[str, int]
    """How many nodes of each there are, the most frequent first."""


@dataclass(frozen=True, slots=True)
class BuiltEngine:
    """An engine that was built."""

    seconds: float
    megabytes: float


def graph_path(folder: Path, trial: Trial) -> Path:
    """Where the graph of `trial` lies; it is there as soon as it is whole."""
    return folder / trial.graph / "graph.onnx"


def engine_path(folder: Path, trial: Trial) -> Path:
    """Where the engine of `trial` lies."""
    return folder / f"{trial.name}.engine"


@dataclass(slots=True)
class GraphWriter:
    """Writes graphs into `folder`, in few threads."""

    folder: Path
    size: int
    threads: int

    def __call__(self, trial: Trial) -> WrittenGraph:
        import torch

        from engine_trials.lowered import lowered, model_of
        from vidtok_edge.export.graphs.graph import write_unchecked_graph

        start = time.monotonic()
        torch.set_num_threads(self.threads)
        step, interface = lowered(model_of(trial.model), trial, self.size)
        path = graph_path(self.folder, trial)
        with write_folder_beside(path.parent) as folder:
            graph = write_unchecked_graph(step, interface, folder / path.name).graph
        operators = Counter(node.op_type for node in graph.node)
        return WrittenGraph(time.monotonic() - start, dict(operators.most_common()))


class EngineBuilder:
    """One builder of TensorRT, which takes 16 to 45 s to start, for one engine after the other."""

    def __init__(self, folder: Path) -> None:
        from vidtok_edge.runtime.backends.backend import Target
        from vidtok_edge.runtime.backends.engines.library import load_tensorrt

        self.folder = folder
        self.trt = cast(Any, load_tensorrt(Target.TENSORRT))
        self.logger = self.trt.Logger(self.trt.Logger.WARNING)
        self.builder = self.trt.Builder(self.logger)

    def __call__(self, trial: Trial) -> BuiltEngine:
        from tensorrt_layers import built

        from engine_trials.forms import TRIAL_FORMS

        start = time.monotonic()
        path = graph_path(self.folder, trial)
        wide = TRIAL_FORMS[trial.form].float32_sums and trial.precision != "fp32"
        options = (trial.level, trial.aux, self.builder)
        blob = built(self.trt, self.logger, path, *options, float32_sums=wide)
        with write_beside(engine_path(self.folder, trial), force=True) as temporary:
            temporary.write_bytes(blob)
        return BuiltEngine(time.monotonic() - start, blob.nbytes / 1e6)
