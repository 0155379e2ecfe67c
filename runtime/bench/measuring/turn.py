"""One turn of one candidate: start up, warm up, measure. It has a process to itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from vidtok_edge.errors import UsageError
from vidtok_edge.runtime.bench.measuring.candidate import Candidate
from vidtok_edge.runtime.bench.measuring.frames import COUNT, clip_frames, for_graph, moving_frames
from vidtok_edge.runtime.bench.measuring.runs import Measured, Pace, run_measured
from vidtok_edge.runtime.bench.meters.sampling import Sample, Sampler
from vidtok_edge.runtime.bundle import Bundle
from vidtok_edge.runtime.manifest.graphs import GraphSpec

__all__ = ["RanGraph", "Settings", "StartUp", "Turn", "run_turn"]


_MOST = 1e6
"""Of any setting: seconds are eleven days then."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How every candidate is measured."""

    pace: Pace
    seconds: float = 10.0
    """Measured time of each candidate, all rounds together."""
    warmup_s: float = 2.0
    """Before each turn's measuring; not in any figure but start-up and time to first token."""
    rounds: int = 1
    decode: bool = False
    deadline_ms: float | None = None
    """None: the period of a chunk at the camera's rate."""
    clip: str | None = None
    """None: a synthetic moving picture."""
    camera_fps: float = 30.0
    """The rate that real time means in a saturated run."""
    meters: bool = True

    def __post_init__(self) -> None:
        positive = {
            "seconds": self.seconds,
            "rounds": self.rounds,
            "fps": self.camera_fps,
            "paced": self.pace.fps,
            "queue": self.pace.capacity,
            "deadline": self.deadline_ms,
        }
        for name, value in positive.items():
            if value is not None and not 0 < value <= _MOST:  # so that NaN is refused, too
                raise UsageError(f"{name} is {value}; use more than 0, and at most {_MOST:g}.")
        if not 0 <= self.warmup_s <= _MOST:
            raise UsageError(f"warmup is {self.warmup_s}; use 0 to {_MOST:g} seconds.")

    @property
    def fps(self) -> float:
        """The camera's."""
        return self.camera_fps if self.pace.fps is None else self.pace.fps


@dataclass(frozen=True, slots=True)
class StartUp:
    """From nothing to the first token, in milliseconds."""

    process_ms: float
    """Interpreter, numpy, this package: until the bundle is asked for."""
    load_ms: float
    """Read and check the bundle's manifest and files."""
    open_ms: float
    """Import the backend and make the encoder, and the decoder where there is one, ready."""
    first_token_ms: float
    """The first frame until its tokens; frames are handed over at once."""

    @property
    def total_ms(self) -> float:
        """All of it."""
        return self.process_ms + self.load_ms + self.open_ms + self.first_token_ms


@dataclass(frozen=True, slots=True)
class RanGraph:
    """A graph that ran, or that the engine which ran was built of."""

    name: str
    """As its file is called: `encoder.int8`."""
    form: str
    sha256: str
    """Of the file; empty where PyTorch ran the step."""
    data_sha256: str
    """Of its weights."""

    @classmethod
    def of(cls, spec: GraphSpec) -> RanGraph:
        """As the manifest has it."""
        return cls(spec.name, spec.form, spec.sha256, spec.data_sha256)


@dataclass(slots=True)
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


def run_turn(
    candidate: Candidate,
    settings: Settings,
    spawned_ns: int,
    progress: Callable[[float], None] = lambda share: None,
) -> Turn:
    """Run it here.

    Args:
        spawned_ns: monotonic time at which this process was asked for.
        progress: is told the share that is done.
    """
    started, process_ns = time.time(), time.monotonic_ns() - spawned_ns
    with ExitStack() as stack:
        sampler = stack.enter_context(Sampler(settings.meters))
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
            process_ns / 1e6,
            (loaded - ready) / 1e6,
            (opened - loaded) / 1e6,
            measured.first_token_ns / 1e6,
        )
        info, graphs = encoder.backend, [RanGraph.of(encoder.graph)]
        graphs += [RanGraph.of(decoder.graph)] if decoder is not None else []
    end = measured.begin_ns + measured.elapsed_ns
    device_mb = [sample.device_mb for sample in sampler.samples if sample.device_mb is not None]
    return Turn(
        started,
        f"{info.active} on {info.library}",
        info.fell_back,
        graphs,
        start_up,
        measured,
        max(device_mb, default=None),
        sampler.between(measured.begin_ns, end),
        sampler.sources,
    )
