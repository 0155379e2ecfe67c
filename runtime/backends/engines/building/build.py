"""The one way to build engines: strongly typed, from TensorRT 10.3 to 11 and TensorRT-RTX alike."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from vidtok_edge import __version__
from vidtok_edge.errors import EngineMissing, EngineRefused, EngineStale, UsageError
from vidtok_edge.hashes import sha256_of_parts
from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.backends.backend import Target
from vidtok_edge.runtime.backends.engines.api import IBuilderConfig, IHostMemory, TensorRT
from vidtok_edge.runtime.backends.engines.building.files import (
    prepare_folder,
    read_timing,
    write_engine,
    write_timing,
)
from vidtok_edge.runtime.backends.engines.building.fusions import break_fusions, check_unfused
from vidtok_edge.runtime.backends.engines.building.interrupt import interruptible
from vidtok_edge.runtime.backends.engines.building.network import (
    ParsedNetwork,
    parsed_network,
    said,
)
from vidtok_edge.runtime.backends.engines.building.precision_proof import (
    ComputeLayer,
    check_proof,
    compute_layers,
    proof_from_inspector,
    proof_from_network,
)
from vidtok_edge.runtime.backends.engines.building.sums import Float32Sums, sum_in_float32
from vidtok_edge.runtime.backends.engines.building.targets import build_hosts, builds_ahead
from vidtok_edge.runtime.backends.engines.library import collected_log, load_tensorrt
from vidtok_edge.runtime.backends.engines.sidecar import (
    NO_TF32,
    SIDECAR_SCHEMA,
    TF32_OF_FP16,
    EngineFile,
    EngineHost,
    EngineSidecar,
    PrecisionProof,
    check_engine,
    engine_file,
    layers_sha256,
)
from vidtok_edge.runtime.backends.gpu import present_gpu
from vidtok_edge.runtime.manifest.graphs import KINDS, GraphSpec, Placement, Precision
from vidtok_edge.runtime.progress import Stage, no_stage

__all__ = [
    "BuildRequest",
    "BuilderOptions",
    "EnginePlan",
    "PlannedEngine",
    "build_engines",
    "builder_config",
    "plan_engines",
]


@dataclass(frozen=True, slots=True)
class BuilderOptions:
    """How hard TensorRT tries, and what it may fuse.

    Attributes:
        workspace_mb: limit of the builder's scratch memory in MiB; None: all that there is.
        optimization: 0 (quick to build) to 5 (tries most); None: TensorRT's own, 3.
        unfused: layers (`*` and `?` as in file names) whose tensors become outputs, so that
            nothing is fused over them.
        float32_sums: sum the products of FP16 convolutions in float32.
    """

    workspace_mb: int | None = None
    optimization: int | None = None
    unfused: tuple[str, ...] = ()
    float32_sums: bool = False

    def __post_init__(self) -> None:
        if self.workspace_mb is not None and self.workspace_mb < 1:
            raise UsageError(f"--workspace is {self.workspace_mb}; give 1 or more, in MiB.")
        if self.optimization is not None and not 0 <= self.optimization <= 5:
            raise UsageError(f"--optimization is {self.optimization}; give 0 to 5.")

    def mismatches(self, sidecar: EngineSidecar) -> tuple[str, ...]:
        """The options that were asked for, and that an engine was not built with."""
        pairs = [
            ("workspace", sidecar.workspace_mb, self.workspace_mb),
            ("optimization", sidecar.optimization, self.optimization),
        ]
        wrong = tuple(
            f"{name}: built with {'the default' if built is None else built}, asked for {wanted}"
            for name, built, wanted in pairs
            if wanted not in (None, built)
        )
        if self.unfused and set(self.unfused) != set(sidecar.unfused):
            had, wanted = ", ".join(sidecar.unfused) or "none", ", ".join(self.unfused)
            wrong += (f"broken fusions: built with {had}, asked for {wanted}",)
        if self.float32_sums and not sidecar.float32_sums and sidecar.precision != "fp32":
            wrong += ("sums: built with TensorRT's choice, asked for float32",)
        return wrong


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """What to build.

    Attributes:
        bundle: the folder that `vidtok-export` wrote.
        target: TensorRT, or TensorRT-RTX.
        precisions: of the graphs; empty: all that the bundle has for engines.
        gpus: as `sm86`; empty: the one present.
        options: how hard TensorRT tries.
        rebuild: build again what is there already and fits.
    """

    bundle: Path
    target: Target
    precisions: tuple[str, ...] = ()
    gpus: tuple[str, ...] = ()
    options: BuilderOptions = BuilderOptions()
    rebuild: bool = False


@dataclass(frozen=True, slots=True)
class PlannedEngine:
    """An engine that was asked for. Truthy where it must be built."""

    graph: GraphSpec
    host: EngineHost
    path: Path
    why: str
    """Why it must be built; empty where the one that is there is kept."""

    def __bool__(self) -> bool:
        return bool(self.why)


@dataclass(frozen=True, slots=True)
class EnginePlan:
    """What a request comes to."""

    request: BuildRequest
    bundle: Bundle
    library: TensorRT
    engines: tuple[PlannedEngine, ...]

    @property
    def left_out(self) -> tuple[str, ...]:
        """Precisions of the bundle that nobody named and of whose graphs no engine is built."""
        if self.request.precisions:
            return ()
        built = {engine.graph.precision for engine in self.engines}
        return tuple(name for name in self.bundle.manifest.precisions if name not in built)


def plan_engines(request: BuildRequest) -> EnginePlan:
    """Which engines `build_engines` would build, and why; writes nothing.

    Raises:
        UsageError: no such precision, target, GPU or layer.
        BundleError: the bundle cannot be trusted, or has no graph of a precision for engines.
        MissingDependency, BackendUnavailable: there is no TensorRT here that can build.
    """
    if unknown := [name for name in request.precisions if name not in get_args(Precision)]:
        allowed = ", ".join(get_args(Precision))
        raise UsageError(f"There is no precision {', '.join(unknown)}; use {allowed}.")
    bundle = Bundle.load(request.bundle, check_hashes=True)
    graphs = _graphs(bundle, request.precisions)
    check_unfused(bundle.path, graphs, request.options.unfused)
    library = load_tensorrt(request.target)
    hosts = build_hosts(request.target, library, request.gpus)
    engines = tuple(_planned(request, bundle, graph, host) for host in hosts for graph in graphs)
    return EnginePlan(request, bundle, library, engines)


def build_engines(plan: EnginePlan, stage: Stage = no_stage) -> list[EngineFile]:
    """Build the engines of `plan` that must be built, each with its sidecar, one after another.

    An engine and its sidecar are written when the engine is complete and its precision proven; an
    error or Ctrl-C leaves the engines before it, and nothing of its own.

    Args:
        plan: of `plan_engines`.
        stage: called around each build, for progress.

    Returns:
        The engines of the plan, also those that were kept.

    Raises:
        EngineRefused: TensorRT does not parse or build a graph; the message has the layer.
        CheckFailed: an engine does not run in the precision that was asked for.
        OutputNotWritable: the bundle cannot be written to.
        KeyboardInterrupt: Ctrl-C; TensorRT stops at its next step, which may take seconds.
    """
    if any(plan.engines):
        prepare_folder(plan.bundle.path)
    done = []
    for engine in plan.engines:
        if engine:
            with stage(engine.path.name, engine.path):
                _build(plan, engine)
        done.append(check_engine(plan.bundle.path, engine.graph, engine.host.target, engine.host))
    return done


# --- the plan ---------------------------------------------------------------------------------


def _graphs(bundle: Bundle, precisions: Sequence[str]) -> list[GraphSpec]:
    manifest = bundle.manifest
    for_engines = [g.precision for g in manifest.graphs if g.serves(Placement.TENSORRT)]
    wanted = precisions or for_engines or manifest.precisions  # of which none serves: that is said
    return [
        manifest.graph(kind, precision, placement=Placement.TENSORRT)
        for precision in dict.fromkeys(wanted)
        for kind in KINDS
    ]


def _planned(
    request: BuildRequest, bundle: Bundle, graph: GraphSpec, host: EngineHost
) -> PlannedEngine:
    path = engine_file(bundle.path, graph, host.target, host.gpu)
    try:
        sidecar = check_engine(bundle.path, graph, host.target, host).sidecar
        why = "; ".join(request.options.mismatches(sidecar))
    except EngineMissing:
        why = "not there yet"
    except EngineStale as error:
        why = "; ".join(error.mismatches)
    return PlannedEngine(graph, host, path, why or ("asked for" if request.rebuild else ""))


# --- one engine -------------------------------------------------------------------------------


def _build(plan: EnginePlan, engine: PlannedEngine) -> None:
    library, options = plan.library, plan.request.options
    start = time.perf_counter()
    with collected_log(library) as (logger, messages):
        parsed = parsed_network(
            library, logger, plan.bundle.path / engine.graph.file, engine.host.product
        )
        layers = compute_layers(library, parsed.network)
        check_proof(engine.graph, proof_from_network(layers), layers)
        wide = options.float32_sums and engine.graph.precision != "fp32"
        sums = sum_in_float32(library, parsed.network, layers) if wide else Float32Sums()
        extra_outputs = break_fusions(
            parsed.network, plan.bundle.path, engine.graph, options.unfused
        )
        config = builder_config(plan, engine, parsed)
        flags = _set_flags(library, config, tf32=wide)
        blob = _serialized(library, parsed, config, engine, messages, wide)
        seconds = time.perf_counter() - start
        proof = _proof(library, logger, blob, engine.host, layers, sums.layers)
        check_proof(engine.graph, proof, layers)
    graph, host, content = engine.graph, engine.host, memoryview(blob)
    sidecar = EngineSidecar(
        schema=SIDECAR_SCHEMA,
        toolkit=__version__,
        graph=graph.name,
        target=host.target,
        version=host.version,
        gpu=host.gpu,
        gpu_name=host.gpu_name,
        platform=host.platform,
        onnx_sha256=graph.sha256,
        data_sha256=graph.data_sha256,
        precision=graph.precision,
        form=graph.form,
        int8_layers_sha256=layers_sha256(graph.int8_layers),
        workspace_mb=options.workspace_mb,
        optimization=options.optimization,
        flags=(*parsed.flags, *flags),
        build_seconds=round(seconds, 3),
        engine_sha256=sha256_of_parts([content]),
        engine_bytes=content.nbytes,
        proof=proof,
        unfused=options.unfused,
        extra_outputs=extra_outputs,
        float32_sums=wide,
    )
    write_engine(engine.path, content, sidecar)
    if not builds_ahead(library) and (cache := config.get_timing_cache()) is not None:
        write_timing(plan.bundle.path, host, memoryview(cache.serialize()))


def builder_config(
    plan: EnginePlan, engine: PlannedEngine, parsed: ParsedNetwork
) -> IBuilderConfig:
    """What TensorRT is told for one engine; what the parser was told is in `parsed`."""
    library, options = plan.library, plan.request.options
    config = parsed.builder.create_builder_config()
    config.profiling_verbosity = library.ProfilingVerbosity.DETAILED  # the inspector needs it
    if options.workspace_mb is not None:
        pool = library.MemoryPoolType.WORKSPACE
        config.set_memory_pool_limit(pool, options.workspace_mb << 20)
    if options.optimization is not None:
        config.builder_optimization_level = options.optimization
    if builds_ahead(library):
        _aim(library, config, engine.host.gpu)
    else:  # TensorRT-RTX has no use for a timing cache: it times nothing
        cache = config.create_timing_cache(read_timing(plan.bundle.path, engine.host))
        config.set_timing_cache(cache, False)
    return config


def _set_flags(library: TensorRT, config: IBuilderConfig, *, tf32: bool) -> tuple[str, ...]:
    """Set the builder's flags; as a sidecar names them."""
    flags = (TF32_OF_FP16 if tf32 else NO_TF32,)
    if tf32:
        config.set_flag(library.BuilderFlag.TF32)
    else:  # it is on by default, and keeps 10 bits of the mantissa: fp32 promises more
        config.clear_flag(library.BuilderFlag.TF32)
    if not hasattr(library.BuilderFlag, "REQUIRE_USER_ALLOCATION"):  # TensorRT-RTX only
        return flags
    config.set_flag(library.BuilderFlag.REQUIRE_USER_ALLOCATION)
    return (*flags, "REQUIRE_USER_ALLOCATION")


def _aim(library: TensorRT, config: IBuilderConfig, gpu: str) -> None:
    """Build for `gpu`, which need not be present."""
    if hasattr(library, "ComputeCapability") and hasattr(config, "set_compute_capability"):
        if hasattr(config, "num_compute_capabilities"):
            config.num_compute_capabilities = 1
        config.set_compute_capability(getattr(library.ComputeCapability, gpu.upper()), 0)


def _serialized(
    library: TensorRT,
    parsed: ParsedNetwork,
    config: IBuilderConfig,
    engine: PlannedEngine,
    messages: Sequence[str],
    wide: bool,
) -> IHostMemory:
    with interruptible(library) as monitor:
        config.progress_monitor = monitor
        blob = parsed.builder.build_serialized_network(parsed.network, config)
    if blob is None:
        raise EngineRefused(
            f"{engine.host.product} does not build {engine.graph.file} for {engine.host.gpu}: "
            f"{_with_advice(said(messages), engine, wide)}"
        )
    return blob


def _with_advice(reason: str, engine: PlannedEngine, wide: bool) -> str:
    if "memory" in reason.lower():
        return f"{reason} Try a smaller --workspace, or a lower --optimization."
    if engine.host.gpu == "sm75" and engine.graph.precision == "fp32":
        return f"{reason} TensorRT-RTX multiplies fp16 and INT8 on Turing: build those."
    if engine.host.gpu == "sm75" and wide:
        return f"{reason} Turing has no TF32: build it without --float32-sums."
    return reason


def _proof(
    library: TensorRT,
    logger: Any,
    blob: IHostMemory,
    host: EngineHost,
    layers: list[ComputeLayer],
    float32_sums: Sequence[str],
) -> PrecisionProof:
    """From the built engine where its GPU is present and TensorRT tells; else from the network."""
    demanded = proof_from_network(layers, float32_sums)
    gpu = present_gpu()
    if gpu is None or gpu.architecture != host.gpu:
        return demanded
    built = library.Runtime(logger).deserialize_cuda_engine(blob)
    if built is None:
        return demanded
    text = built.create_engine_inspector().get_engine_information(
        library.LayerInformationFormat.JSON
    )
    inspected = proof_from_inspector(layers, text, float32_sums)
    return demanded if inspected.work_permille("unknown") > 500 else inspected
