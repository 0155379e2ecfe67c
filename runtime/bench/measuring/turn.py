"""One turn of one candidate: start up, warm up, measure. It has a process to itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from vidtok_edge.runtime.bench.candidate_result import ProvenQuality, RanGraph
from vidtok_edge.runtime.bench.figures import StartUp
from vidtok_edge.runtime.bench.measuring.candidate import Candidate
from vidtok_edge.runtime.bench.measuring.frames import COUNT, clip_frames, for_graph, moving_frames
from vidtok_edge.runtime.bench.measuring.runs import Measured, run_measured
from vidtok_edge.runtime.bench.meters.sampling import Sampler
from vidtok_edge.runtime.bench.sample import Sample
from vidtok_edge.runtime.bench.settings import Settings
from vidtok_edge.runtime.bundle import Bundle
from vidtok_edge.runtime.manifest.graphs import GraphSpec
from vidtok_edge.runtime.proofs import NOT_LOOKED_FOR, PartFigures, Proven

__all__ = ["Turn", "run_turn"]


@dataclass(slots=True, kw_only=True)
class Turn:
    """What one turn found."""

    started: float
    """Unix time."""
    backend: str
    """What really ran, and on what."""
    fell_back: str
    graphs: list[RanGraph]
    """The encoder's, and the decoder's where it ran."""
    start_up: StartUp
    measured: Measured
    peak_device_mb: float | None
    """The most of all readings, start-up and warm-up included."""
    samples: list[Sample] = field(default_factory=list)
    meters: list[str] = field(default_factory=list)
    """Where the samples came from."""
    meters_missing: list[str] = field(default_factory=list)
    """What would have been sampled, and what that takes."""
    proof: str = ""
    """The proof that it ran under, or why there is none; empty for PyTorch."""
    proven: ProvenQuality | None = None
    """What that proof found."""


def run_turn(
    candidate: Candidate,
    settings: Settings,
    spawned_ns: int,
    progress: Callable[[float], None] = lambda share: None,
    *,
    open_sampler: Callable[[bool], Sampler] = Sampler,
) -> Turn:
    """Run it here.

    Args:
        spawned_ns: monotonic time at which this process was asked for.
        progress: is told the share that is done.
        open_sampler: reads the meters, where its argument says so.
    """
    started, process_ns = time.time(), time.monotonic_ns() - spawned_ns
    with ExitStack() as stack:
        sampler = stack.enter_context(open_sampler(settings.meters))
        ready = time.monotonic_ns()
        bundle = Bundle.load(candidate.bundle)
        manifest = bundle.manifest
        loaded = time.monotonic_ns()
        encoder, decoder = candidate.open(bundle, settings.decode)
        stack.enter_context(encoder)
        if decoder is not None:
            stack.enter_context(decoder)
        opened = time.monotonic_ns()
        size = COUNT, manifest.height, manifest.width
        pictures = (
            moving_frames(*size)
            if settings.clip is None
            else clip_frames(Path(settings.clip), *size)
        )
        frames = for_graph(manifest, pictures)
        seconds = settings.seconds / settings.rounds
        measured = run_measured(
            encoder,
            decoder,
            frames,
            settings.pace,
            warmup_s=settings.warmup_s,
            seconds=seconds,
            progress=progress,
        )
        start_up = StartUp(
            process_ms=process_ns / 1e6,
            load_ms=(loaded - ready) / 1e6,
            open_ms=(opened - loaded) / 1e6,
            first_token_ms=measured.first_token_ns / 1e6,
        )
        proofs = [one.proof for one in (encoder, decoder) if one is not None]
        info, graphs = encoder.backend, [_ran(encoder.graph)]
        graphs += [_ran(decoder.graph)] if decoder is not None else []
    end = measured.begin_ns + measured.elapsed_ns
    device_mb = [sample.device_mb for sample in sampler.samples if sample.device_mb is not None]
    return Turn(
        started=started,
        backend=f"{info.active} on {info.library}",
        fell_back=info.fell_back,
        graphs=graphs,
        start_up=start_up,
        measured=measured,
        peak_device_mb=max(device_mb, default=None),
        samples=sampler.between(measured.begin_ns, end),
        meters=sampler.sources,
        meters_missing=sampler.missing,
        proof=_proof(proofs),
        proven=_proven(proofs),
    )


def _proof(proofs: Sequence[Proven]) -> str:
    """What is said of the half that is not proven, or of the encoder."""
    told = next((proof for proof in proofs if not proof), proofs[0])
    return "" if told is NOT_LOOKED_FOR else str(told)


def _proven(proofs: Sequence[Proven]) -> ProvenQuality | None:
    """What counts of the encoder's proof, and of the decoder's where it ran."""
    parts = list[PartFigures]()
    for number, found in enumerate(proofs):
        if found and found.proof is not None:
            parts.append(found.proof.decoder if number else found.proof.encoder)
    values = {(part.kind, part.metric): part.value for part in parts}
    if not values:
        return None
    return ProvenQuality(
        tokens_equal=values.get(("encoder", "tokens")), pictures_db=values.get(("decoder", "dB"))
    )


def _ran(spec: GraphSpec) -> RanGraph:
    """As the manifest has it."""
    return RanGraph(
        name=spec.name, form=spec.form, sha256=spec.sha256, data_sha256=spec.data_sha256
    )
