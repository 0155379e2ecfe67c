"""`prove`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from vidtok_edge.commands.options import PathName, comma_list, threads_option
from vidtok_edge.commands.printing import frame_bar, load_bundle, print_columns, warn
from vidtok_edge.commands.terminal import Styled, say
from vidtok_edge.errors import CheckFailed, OutputNotWritable, UsageError

if TYPE_CHECKING:
    from vidtok_edge.runtime import Bundle
    from vidtok_edge.runtime.backends.backend import Backend
    from vidtok_edge.runtime.proofs import PartFigures, Proof


@click.command()
@click.argument("bundle", type=PathName())
@click.option(
    "--backend",
    default="auto",
    show_default=True,
    help="auto (engines that lie here, else ONNX Runtime), onnxruntime, cpu, cuda, tensorrt, "
    "tensorrt-rtx, onnxruntime-tensorrt-rtx, openvino.",
)
@click.option(
    "--precision",
    callback=comma_list,
    metavar="fp16,int8",
    help="Of the graphs.  [default: all that the bundle has for the backend]",
)
@threads_option
@click.option("--report", is_flag=True, help="Prove nothing: collect the proofs in one page.")
def prove(
    bundle: Path, backend: str, precision: tuple[str, ...], threads: int | None, report: bool
) -> None:
    """Let a device prove itself on the golden stream of a bundle; exit 1 where it fails.

    Needs no PyTorch. What was found is written to proof/BACKEND.PRECISION.GPU.json in the bundle.
    """
    from vidtok_edge.runtime.backends.backend import Backend
    from vidtok_edge.runtime.proving.prove import what_to_prove

    loaded = load_bundle(bundle)
    if report:
        if precision or threads or backend != "auto":
            raise UsageError("--report collects what was proven; leave the other options out.")
        _collect(loaded)
        return
    wanted = what_to_prove(loaded, Backend.named(backend), precision)
    require_proven(loaded, prove_each(loaded, wanted, threads))


def prove_each(
    bundle: Bundle, wanted: list[tuple[Backend, str]], threads: int | None
) -> list[Proof]:
    """Prove each backend and precision, write and show what was found; gives what failed."""
    from vidtok_edge.runtime.proofs import write_proof
    from vidtok_edge.runtime.proving.prove import prove as prove_one

    failed = []
    for backend, precision in wanted:
        with frame_bar(f"{precision:<5}") as progress:
            proof = prove_one(bundle, backend, precision, threads=threads, progress=progress)
        _show(proof)
        try:
            say(str(write_proof(bundle.path, proof)))
        except OutputNotWritable as error:
            warn(f"the proof is not kept: {error}")
        if not proof:
            failed.append(proof)
    return failed


def require_proven(bundle: Bundle, failed: list[Proof]) -> None:
    """Raise CheckFailed where a proof failed."""
    if failed:
        told = "; ".join(f"{proof.name}: {proof.differences[0].text}" for proof in failed)
        raise CheckFailed(f"{bundle.path} does not give what it should. {told}")


def _show(proof: Proof) -> None:
    colour = "green" if proof else "red"
    say(Styled.of(f"{proof.name}: {proof.verdict}", fg=colour, bold=True))
    say(f"{proof.library} on {proof.device.name}, {proof.seconds:.1f} s")
    if proof.fell_back:
        warn(f"fell back: {proof.fell_back}")
    rows = [("", "streamed", "equal to the reference", "at least", "bits", "p50", "p99")]
    print_columns(rows + [_row(part) for part in (proof.encoder, proof.decoder)])
    for part in (proof.encoder, proof.decoder):
        if told := part.graph.memory_told:
            say(f"{part.kind}: {told}")
    for difference in proof.differences:
        say(difference.text)


def _row(part: PartFigures) -> tuple[str, ...]:
    if part.metric == "tokens":
        value, limit = f"{part.value:.2%} of the tokens", f"{part.limit:.2%}"
        if part.farthest is not None:
            value += f", the others within {part.farthest:.2f} of a boundary"
    else:
        value, limit = f"{part.value:.1f} dB", f"{part.limit:.1f} dB"
    same = f"{part.bit_equal} of {part.items}"
    return (part.kind, part.covered, value, limit, same, *map(_ms, (part.p50_ms, part.p99_ms)))


def _ms(value: float) -> str:
    return f"{value:.2f} ms"


def _collect(bundle: Bundle) -> None:
    from vidtok_edge.runtime.proving.proof_report import write_report

    for path in write_report(bundle.path):
        say(str(path))
