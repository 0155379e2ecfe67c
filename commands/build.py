"""`build`."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from vidtok_edge.commands.options import PathName, comma_list
from vidtok_edge.commands.printing import stage, warn
from vidtok_edge.commands.terminal import say
from vidtok_edge.errors import VidTokEdgeError

if TYPE_CHECKING:
    from vidtok_edge.runtime import Bundle
    from vidtok_edge.runtime.backends.engines.building.build import PlannedEngine


@click.command()
@click.argument("bundle", type=PathName())
@click.option(
    "--precision",
    callback=comma_list,
    metavar="fp16,int8",
    help="Of the graphs.  [default: all that the bundle has for engines]",
)
@click.option(
    "--target",
    type=click.Choice(["tensorrt", "tensorrt-rtx"]),
    default="tensorrt",
    show_default=True,
    help="TensorRT builds on the GPU that will run the engine, TensorRT-RTX anywhere.",
)
@click.option(
    "--gpu",
    callback=comma_list,
    metavar="sm86,...",
    help="TensorRT-RTX: what to build for, one engine each.  [default: the GPU present]",
)
@click.option("--workspace", type=int, metavar="MB", help="Limit of the builder's scratch memory.")
@click.option(
    "--optimization", type=int, metavar="0..5", help="How much TensorRT tries.  [default: its own]"
)
@click.option(
    "--form",
    type=click.Choice(["auto"]),
    help="Build every form of the bundle here, measure, keep the fastest that gives what "
    "it should; INT8 only where it is faster than FP16.",
)
@click.option(
    "--break-fusion",
    "unfused",
    multiple=True,
    metavar="PATTERN",
    help="Let TensorRT fuse nothing over what leaves these layers, as decoder.mid.*; may be "
    "given several times.",
)
@click.option(
    "--float32-sums",
    is_flag=True,
    help="Sum the products of FP16 convolutions in float32: more tokens are those of FP32, and a "
    "call takes longer.  [default: as TensorRT likes; --form auto: where nothing else passes]",
)
@click.option(
    "--memory",
    type=click.Choice(["auto", "device", "mapped", "managed"]),
    help="Where frames and tokens of the engines lie: auto measures here and keeps the fastest.  "
    "[default: auto where GPU and CPU share one memory, else device]",
)
@click.option("--rebuild", is_flag=True, help="Build again what is there and fits.")
@click.option("--dry-run", is_flag=True, help="Say what would be built, and build nothing.")
def build(
    bundle: Path,
    precision: tuple[str, ...],
    target: str,
    gpu: tuple[str, ...],
    workspace: int | None,
    optimization: int | None,
    form: Literal["auto"] | None,
    unfused: tuple[str, ...],
    float32_sums: bool,
    memory: str | None,
    rebuild: bool,
    dry_run: bool,
) -> None:
    """Compile the step graphs of a bundle with TensorRT, into its folder engines/."""
    from vidtok_edge.runtime.backends.backend import Target
    from vidtok_edge.runtime.backends.engines.building.build import (
        BuilderOptions,
        BuildRequest,
        build_engines,
        plan_engines,
    )
    from vidtok_edge.runtime.backends.engines.building.choice import build_fastest, plan_forms
    from vidtok_edge.runtime.proving.memory_choice import check_asked

    request = BuildRequest(
        bundle,
        Target.named(target),
        precision,
        gpu,
        BuilderOptions(workspace, optimization, unfused, float32_sums),
        rebuild,
    )
    plans = plan_forms(request) if form else [plan_engines(request)]
    for plan in plans:
        if plan.left_out:
            warn(
                f"no engine is built of {', '.join(plan.left_out)}: its form, channels_last, is "
                "for ONNX Runtime; for one, export with --form conv2d"
            )
        for engine in plan.engines:
            name = f"{engine.path.name:<40}" + (f" {engine.graph.form}" if form else "")
            if not engine:
                say(f"{name} kept: it fits its graph and {engine.host}")
            elif dry_run:
                say(f"{name} would be built: {engine.why}")
    if dry_run:
        return
    if memory:
        check_asked(Target.named(target), memory)
    if form:
        for choice in build_fastest(
            plans, lambda name, path: stage(f"{name:<40}", path), fault_of=fault_of
        ):
            others = ", ".join(map(str, choice.others)) or "nothing to compare with"
            say(f"{choice.kept.engine.path.name:<40} {choice.kept}; not kept: {others}")
        choose_memories(bundle, target, memory)
        prove_built(bundle, target)
        return
    [plan] = plans
    built = build_engines(plan, lambda name, path: stage(f"{name:<40}", path))
    for engine, file in zip(plan.engines, built, strict=True):
        if engine:
            say(f"{file.path.name:<40} {file.sidecar.proof}")
            if file.sidecar.extra_outputs:
                names = ", ".join(spec.name for spec in file.sidecar.extra_outputs)
                say(f"{file.path.name:<40} nothing is fused over {names}")
    say(str(built[0].path.parent))
    choose_memories(bundle, target, memory)
    prove_built(bundle, target)


def fault_of(bundle: Bundle, engine: PlannedEngine) -> str:
    """What the engine gives wrong; an empty text, and a warning, where that cannot be said."""
    from vidtok_edge.runtime.backends.backend import Backend
    from vidtok_edge.runtime.proving.prove import first_fault

    graph, backend = engine.graph, Backend.named(engine.host.target)
    try:
        return first_fault(bundle, graph.kind, backend, graph.precision)
    except VidTokEdgeError as error:
        warn(f"{engine.path.name} is chosen by its speed alone: {error}")
        return ""


def choose_memories(path: Path, target: str, asked: str | None) -> None:
    """Choose where frames and tokens of the engines for this GPU lie.

    Raises VidTokEdgeError: it cannot be done, and was asked for; else that is a warning.
    """
    from vidtok_edge.runtime import Bundle
    from vidtok_edge.runtime.backends.backend import Target
    from vidtok_edge.runtime.manifest.graphs import KINDS
    from vidtok_edge.runtime.proving.memory_choice import choose_memory
    from vidtok_edge.runtime.proving.prove import engines_here

    bundle, of = Bundle.load(path), Target.named(target)
    precisions = engines_here(bundle, of)
    if asked and not precisions:
        warn("no engine is for the GPU here: say --memory where they run")
    try:
        for precision, kind in product(precisions, KINDS):
            choice = choose_memory(
                bundle, kind, of, precision, asked, lambda name, at: stage(f"{name:<40}", at)
            )
            if choice is not None:
                say(f"{f'{kind}.{precision}':<40} {choice}")
    except VidTokEdgeError as error:
        if asked:
            raise
        warn(f"where frames and tokens lie is not chosen, and they are copied: {error}")


def prove_built(path: Path, target: str) -> None:
    """Let the engines for this GPU prove themselves. Raises CheckFailed: one of them failed."""
    from vidtok_edge.commands.prove import prove_each, require_proven
    from vidtok_edge.runtime import Bundle
    from vidtok_edge.runtime.backends.backend import Backend, Target
    from vidtok_edge.runtime.proofs import prove_command
    from vidtok_edge.runtime.proving.prove import engine_files, engines_here

    bundle = Bundle.load(path)
    precisions = engines_here(bundle, Target.named(target))
    line = f"{prove_command(path)} --backend {target}"
    if not precisions:
        say(f"not proven, for no GPU here runs these engines; where they run: {line}", err=True)
        return
    try:
        failed = prove_each(
            bundle, [(Backend.named(target), precision) for precision in precisions], None
        )
    except VidTokEdgeError as error:  # the engines are built, whatever keeps them from being run
        warn(f"the engines are not proven: {error} Later: {line}")
        return
    wrong = {proof.precision for proof in failed}
    files = [
        file
        for graph, file in engine_files(bundle, Target.named(target))
        if graph.precision in wrong
    ]
    if summed := [file.name for file in files if sums_in_fp16(file)]:
        warn(f"sums in FP16 cost accuracy: build with --float32-sums, for {', '.join(summed)}")
    require_proven(bundle, failed)


def sums_in_fp16(engine: Path) -> bool:
    """Whether a sidecar says so of an engine that was not told to sum in float32."""
    from vidtok_edge.runtime.backends.engines.sidecar import read_sidecar

    try:
        sidecar = read_sidecar(engine)
        return sidecar.proof.fp16_sums > 0 and not sidecar.float32_sums
    except (ValueError, OSError):  # it is not for this toolkit, and is not run either
        return False
