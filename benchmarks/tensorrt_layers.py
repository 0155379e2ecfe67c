"""Builds one ONNX graph with TensorRT directly and says where the time goes.

    python benchmarks/tensorrt_layers.py GRAPH.onnx result.json --level 2

Prints how long parsing and building took, the median of 50 launches of its CUDA graph, and the
layers of the engine by kind with their times. The result has every layer: what the inspector says,
and its median time in milliseconds outside a CUDA graph, gaps between launches included. Needs
TensorRT, a GPU and a PyTorch that sees it, but nothing of a bundle.
"""

from __future__ import annotations

import json
import statistics
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import click
import torch

from vidtok_edge.errors import EngineRefused, VidTokEdgeError
from vidtok_edge.lowering.torch_cuda import event_times_ms, require_torch_cuda
from vidtok_edge.runtime.backends.backend import Target
from vidtok_edge.runtime.backends.engines.building.precision_proof import compute_layers
from vidtok_edge.runtime.backends.engines.building.sums import Float32Sums, sum_in_float32
from vidtok_edge.runtime.backends.engines.library import load_tensorrt
from vidtok_edge.runtime.manifest.graphs import CACHE_PREFIX, NEW_CACHE_PREFIX

LAUNCHES = 50
PROFILED = 10
Layer = dict[str, Any]
_TYPES = {
    "FLOAT": torch.float32,
    "HALF": torch.float16,
    "UINT8": torch.uint8,
    "INT8": torch.int8,
    "INT32": torch.int32,
    "BOOL": torch.bool,
}


@dataclass(frozen=True, slots=True)
class Bound:
    """An engine, its context, and the tensors that the context is bound to."""

    engine: Any
    context: Any
    tensors: dict[str, torch.Tensor]
    """By the names of inputs and outputs."""
    stream: torch.cuda.Stream

    def run(self) -> None:
        """One call, and wait for it."""
        self.context.execute_async_v3(self.stream.cuda_stream)
        self.stream.synchronize()

    def pass_caches_on(self) -> None:
        """Make the caches that a call left those of the next, and wait for it."""
        for name, tensor in self.tensors.items():
            if name.startswith(NEW_CACHE_PREFIX):
                cache = CACHE_PREFIX + name.removeprefix(NEW_CACHE_PREFIX)
                self.tensors[cache].copy_(tensor)
        torch.cuda.synchronize()  # the stream that calls run on does not wait for another


@click.command(help=__doc__)
@click.argument("graph", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.argument("out", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--level",
    default=3,
    show_default=True,
    type=click.IntRange(0, 5),
    help="Of optimization.",
)
@click.option("--aux", type=click.IntRange(0), help="Most streams beside the main one.")
def main(graph: Path, out: Path, level: int, aux: int | None) -> None:
    try:
        require_torch_cuda()
        trt = cast(Any, load_tensorrt(Target.TENSORRT))
        logger = trt.Logger(trt.Logger.WARNING)
        blob = built(trt, logger, graph, level, aux)
    except VidTokEdgeError as error:
        raise click.ClickException(str(error)) from None
    bound = bound_engine(trt.Runtime(logger).deserialize_cuda_engine(blob))
    times = event_times_ms(captured(bound).replay, LAUNCHES)
    layers = timed_layers(trt, bound)
    click.echo(report(times, bound, layers))
    out.write_text(json.dumps({"median_ms": statistics.median(times), "layers": layers}) + "\n")


def built(
    trt: Any,
    logger: Any,
    graph: Path,
    level: int,
    aux: int | None,
    builder: Any = None,
    *,
    float32_sums: bool = False,
) -> Any:
    """The serialized engine of `graph`, strongly typed, without TF32.

    `builder` is taken where there is one: to start another takes 16 to 45 s. With `float32_sums`
    FP16 convolutions sum in float32, by TF32, as `build --float32-sums` lets them.

    Raises:
        EngineRefused: TensorRT does not parse or does not build it.
    """
    start = time.perf_counter()
    builder = builder or trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(graph)):
        said = "; ".join(parser.get_error(i).desc() for i in range(parser.num_errors))
        raise EngineRefused(f"TensorRT {trt.__version__} does not parse {graph}: {said}")
    click.echo(f"parsed: {network.num_layers} layers, {time.perf_counter() - start:.1f} s")
    config = builder.create_builder_config()
    sums = Float32Sums()
    if float32_sums:
        sums = sum_in_float32(trt, network, compute_layers(trt, network))
        click.echo(f"{len(sums.layers)} convolutions sum in float32")
    else:
        config.clear_flag(trt.BuilderFlag.TF32)
    config.builder_optimization_level = level
    if aux is not None:
        config.max_aux_streams = aux
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    blob = builder.build_serialized_network(network, config)
    if blob is None:
        raise EngineRefused(
            f"TensorRT {trt.__version__} does not build {graph}; what it says stands above."
        )
    click.echo(f"built: {blob.nbytes / 1e6:.1f} MB, {time.perf_counter() - start:.1f} s")
    return blob


def bound_engine(engine: Any) -> Bound:
    """A context of `engine` with zeros for every input and output."""
    context, tensors = engine.create_execution_context(), dict[str, torch.Tensor]()
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        shape, kind = tuple(engine.get_tensor_shape(name)), engine.get_tensor_dtype(name).name
        tensors[name] = torch.zeros(shape, dtype=_TYPES[kind], device="cuda")
        context.set_tensor_address(name, tensors[name].data_ptr())
    torch.cuda.synchronize()  # the zeros are there before another stream reads them
    stream = cast(Any, torch.cuda.Stream)()  # untyped in PyTorch
    return Bound(engine, context, tensors, stream)


def captured(bound: Bound) -> torch.cuda.CUDAGraph:
    """A call of the engine as a CUDA graph."""
    bound.run()  # what TensorRT puts off until the first call cannot be captured
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=bound.stream):
        bound.context.execute_async_v3(torch.cuda.current_stream().cuda_stream)
    return graph


def timed_layers(trt: Any, bound: Bound) -> list[Layer]:
    """What the inspector says of each layer, and `ms`, its median time."""
    profiler = bound.context.profiler = profiler_of(trt)
    for _ in range(PROFILED):
        bound.run()
    inspector = bound.engine.create_engine_inspector()
    text = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
    layers: list[Layer] = json.loads(text)["Layers"]
    for layer in layers:
        layer["ms"] = statistics.median(profiler.times.get(layer["Name"], [0.0]))
    return layers


def profiler_of(trt: Any) -> Any:
    """A profiler whose `times` are a list of milliseconds for each layer."""

    class Profiler(trt.IProfiler):  # type: ignore[misc]  # a class known when it runs
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)  # pybind11: not through super()
            self.times: dict[str, list[float]] = defaultdict(list)

        def report_layer_time(self, name: str, ms: float) -> None:
            self.times[name].append(ms)

    return Profiler()


def report(times: list[float], bound: Bound, layers: list[Layer]) -> str:
    """The CUDA graph's time, and the layers by kind, the dearest kind first."""
    megabytes = sum(tensor.nbytes for tensor in bound.tensors.values()) / 1e6
    lines = [
        f"CUDA graph: median {statistics.median(times):.3f} ms, least {min(times):.3f} ms; "
        f"inputs and outputs {megabytes:.1f} MB"
    ]
    for kind, (count, ms) in by_kind(layers).items():
        lines.append(f"{kind:24} {count:5} layers {ms:8.3f} ms")
    return "\n".join(lines)


def by_kind(layers: Sequence[Layer]) -> dict[str, tuple[int, float]]:
    """How many layers of each kind there are, and their milliseconds; the dearest kind first."""
    found: dict[str, list[float]] = defaultdict(list)
    for layer in layers:
        found[layer["LayerType"]].append(layer["ms"])
    summed = {kind: (len(ms), sum(ms)) for kind, ms in found.items()}
    return dict(sorted(summed.items(), key=lambda item: -item[1][1]))


if __name__ == "__main__":
    main()
