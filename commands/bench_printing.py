"""What `bench` prints: its plan, what it leaves out, its tables, and what a plan allows."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from vidtok_edge.commands.printing import print_columns
from vidtok_edge.commands.terminal import say
from vidtok_edge.errors import UsageError

if TYPE_CHECKING:
    from vidtok_edge.runtime.bench.document import Document
    from vidtok_edge.runtime.bench.measuring.candidate import Candidate
    from vidtok_edge.runtime.bench.settings import Settings
    from vidtok_edge.runtime.manifest.graphs import Precision

__all__ = ["print_plan", "print_tables", "say_left_out", "say_not_in_torch", "say_planned"]


def print_plan(candidates: list[Candidate], settings: Settings) -> None:
    """How everything is measured, and the candidates in their order."""
    from vidtok_edge.runtime.bench.showing.tables import settings_rows

    print_columns(settings_rows(settings))
    say()
    for number, candidate in enumerate(candidates):
        note = "  (the others are held to it)" if number == 0 and len(candidates) > 1 else ""
        say(f"{number + 1}. {candidate}{note}")


def say_left_out(candidate: Candidate) -> None:
    """That a bundle has nothing of which a backend could run it."""
    say(
        f"{candidate} is left out: the bundle has no {candidate.precision} graph for this backend.",
        fg="yellow",
        err=True,
    )


def say_not_in_torch(candidate: Candidate) -> None:
    """That PyTorch cannot run it."""
    say(f"{candidate} is left out: PyTorch has no such step.", fg="yellow", err=True)


def print_tables(document: Document) -> None:
    """What was measured, and under which proofs, with warnings of what was not."""
    from vidtok_edge.runtime.bench.showing.tables import disturbance, not_metered, tables_of

    for table in tables_of(document):
        say(f"\n{table.title}", bold=True)
        print_columns(table.rows)
        say(table.note, dim=True)
    if (missing := not_metered(document)) is not None:
        say(missing, dim=True)
    for one in document.candidates:
        if one.proof.startswith("proof "):
            say(f"{one.name}: {one.proof}", dim=True)
    unproven = [f"{c.name}: {c.proof}" for c in document.candidates if c.proof.startswith("no ")]
    for warning in [*document.troubles, *unproven, *filter(None, [disturbance(document)])]:
        say(f"\nwarning: {warning}", fg="yellow", err=True)


def say_planned(document: Document) -> None:
    """Beside the most cameras that were followed, the most that a plan allows on this GPU."""
    from importlib.util import find_spec

    from vidtok_edge.runtime.bench.showing.knee import knees_of

    knees = knees_of(document)
    if not knees or any(find_spec(name) is None for name in ("torch", "onnx")):
        return
    from vidtok_edge.export.planning.cameras import device_called, planned_cameras
    from vidtok_edge.lowering.interface import KINDS
    from vidtok_edge.lowering.step import StepOptions
    from vidtok_edge.variants import variant_by_name

    device = device_called(document.machine.gpu.partition(",")[0])
    for knee in knees:
        one = knee.one
        if device is None or one.backend.endswith(("cpu", "openvino")):  # PyTorch, too
            say(f"{knee.name}: the table of `plan` has no such device.", dim=True)
            continue
        try:
            planned = planned_cameras(
                variant_by_name(one.variant),
                StepOptions(one.height, one.width, chunk=one.chunk, form="conv2d"),
                device=device,
                fps=document.settings.fps,
                kinds=KINDS if document.settings.decode else KINDS[:1],
                precision=cast("Precision", one.precision),
                numbers=(*knee.kept_up, *knee.missed),
            )
        except UsageError as error:  # a model of somebody's own
            say(f"{knee.name}: not planned: {error}", dim=True)
            continue
        most = "none of these" if planned is None else f"at most {planned} cameras"
        say(f"{knee.name}: `plan` allows {most} on {device.name}, a bound.", dim=True)
