"""The document of a benchmark: all that is printed, drawn and written of it, as plain facts.

`measuring` makes it and `showing` draws it, here or on another machine: neither asks the bundles,
the backends or the meters again. docs/bench.md says what each field is.
"""

from __future__ import annotations

import base64
import binascii
import struct
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from vidtok_edge.errors import UsageError
from vidtok_edge.runtime.manifest.model import WeightsFacts
from vidtok_edge.runtime.manifest.plain import ADDED_LATER

__all__ = [
    "FORMAT",
    "LARGEST_PICTURE",
    "SCHEMA",
    "Breakdown",
    "CallTimes",
    "CallWork",
    "CandidateResult",
    "Ceilings",
    "ClipQuality",
    "Curve",
    "Document",
    "Figures",
    "Histogram",
    "Latency",
    "Machine",
    "Method",
    "Pace",
    "Picture",
    "Pictures",
    "Policy",
    "ProvenQuality",
    "RanGraph",
    "Ratio",
    "Sample",
    "Settings",
    "StartUp",
    "TurnResult",
    "metered_w",
]

FORMAT = "vidtok-edge-bench"
SCHEMA = 2
LARGEST_PICTURE = 8192
"""Height and width of a picture at most."""
_MOST = 1e6
"""Of any setting: seconds are eleven days then."""
_PNG = b"\x89PNG\r\n\x1a\n"

Policy = Literal["block", "drop-oldest", "drop-newest"]


# --- how it was measured ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pace:
    """How frames come. `fps` None: saturated."""

    fps: float | None
    policy: Policy = "block"
    capacity: int = 8
    """Frames of a camera that wait at most before `drop-oldest` and `drop-newest` drop."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How every candidate is measured."""

    pace: Pace
    seconds: float = field(default=10.0, kw_only=True)
    """Measured time of each candidate, all rounds together."""
    warmup_s: float = field(default=2.0, kw_only=True)
    """Before each turn's measuring; not in any figure but start-up and time to first token."""
    rounds: int = field(default=1, kw_only=True)
    decode: bool = field(default=False, kw_only=True)
    deadline_ms: float | None = field(default=None, kw_only=True)
    """None: the period of a chunk at the camera's rate."""
    clip: str | None = field(default=None, kw_only=True)
    """None: a synthetic moving picture."""
    camera_fps: float = field(default=30.0, kw_only=True)
    """The rate that real time means in a saturated run."""
    meters: bool = field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        positive = {
            "seconds": self.seconds,
            "rounds": self.rounds,
            "fps": self.camera_fps,
            "paced": self.pace.fps,
            "capacity": self.pace.capacity,
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Facts of the machine; empty or None where it does not tell."""

    board: str
    """As the device tree names it; a PC has none."""
    l4t: str
    """A Jetson's release of Linux, NVIDIA's line about it."""
    cpu: str
    cores: int
    """That this process may use."""
    memory_gb: float | None
    """Main memory, GB of 1e9 bytes."""
    system: str
    python: str
    packages: dict[str, str]
    gpu: str
    power_mode: str
    """Of a Jetson (nvpmodel), or the CPU's frequency governor."""
    load_average: float | None
    """Of the last minute, before the first turn: whether something else was running."""
    virtual: bool | None
    """Whether the CPU says that it is a virtual machine's: neighbours may take its time."""
    off_reference: tuple[str, ...] = field(default=(), metadata=ADDED_LATER)
    """What is not set as a machine of its kind should be: `vidtok-edge doctor --check`."""

    def rows(self) -> list[tuple[str, str]]:
        """For a table."""
        rows = [
            ("CPU", self.cpu + (", a virtual machine's" if self.virtual else "")),
            ("cores", str(self.cores)),
            ("memory", "" if self.memory_gb is None else f"{self.memory_gb:.1f} GB"),
            ("GPU", self.gpu),
            ("power mode", self.power_mode),
            ("system", self.system),
            ("Python", self.python),
            ("packages", ", ".join(f"{k} {v}" for k, v in self.packages.items())),
            (
                "load average before",
                "" if self.load_average is None else f"{self.load_average:.2f}",
            ),
        ]
        boards = [("board", self.board), ("L4T", self.l4t)]
        rows = [row for row in boards if row[1]] + rows
        if self.off_reference:
            rows.append(("not as it should be", "; ".join(self.off_reference)))
        return [(name, value or "not told") for name, value in rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """What the figures' statistics go by."""

    samples_needed: dict[str, int]
    """Of each percentile, from how many latents on it is told."""
    level: float
    """How likely it may be that any comparison finds a difference where none is."""
    comparisons: int
    """That the level is divided by."""


# --- what was measured of a candidate ---------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Figures over `n` latents, in milliseconds; None for what so few cannot tell."""

    n: int
    mean_ms: float | None
    p50_ms: float | None
    p90_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    p99_9_ms: float | None
    min_ms: float | None
    max_ms: float | None
    jitter_ms: float | None
    """Mean absolute difference between the latencies of consecutive latents of one stream."""
    deadline_ms: float
    misses: int
    """Latents later than the deadline."""
    longest_run: int
    """Most consecutive latents of one stream that missed it."""

    def percentiles(self) -> dict[str, float | None]:
        """By the names that people use: `p50` to `p99.9`, and `max`."""
        return {
            "p50": self.p50_ms,
            "p90": self.p90_ms,
            "p95": self.p95_ms,
            "p99": self.p99_ms,
            "p99.9": self.p99_9_ms,
            "max": self.max_ms,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakdown:
    """Where the time of a call goes: medians in milliseconds.

    A copy is None where the backend makes none (the CPU) or does not tell it from computing (ONNX
    Runtime's CUDA provider, downloads).
    """

    calls: int
    upload_ms: float | None
    compute_ms: float
    download_ms: float | None
    overhead_ms: float
    overhead_share: float
    """Of the step (the other three): the median over the calls."""

    @property
    def total_ms(self) -> float:
        """All four."""
        return (self.upload_ms or 0) + self.compute_ms + (self.download_ms or 0) + self.overhead_ms


@dataclass(frozen=True, slots=True, kw_only=True)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What was measured of one candidate. None: nothing here tells, or too few samples."""

    backend: str
    fell_back: str
    latency: Latency
    pictures: Latency | None
    """Of decoded frames, with `decode`. Their deadline is later by the longest that a frame waits
    by design: for the rest of its chunk, and for f - 1 frames where the decoder is delayed."""
    encoder: Breakdown | None
    decoder: Breakdown | None
    frames_per_s: float
    """Of all streams together."""
    real_time_factor: float | None
    """Seconds of each stream's video per second that encoder and decoder were busy."""
    busy_share: float
    """Of the time, inside encoder and decoder."""
    cpu_cores: float
    """CPU time over time: how many cores the process kept busy, idle threads that spin included."""
    start_up: StartUp
    """Medians over the turns."""
    start_up_total_ms: float
    dropped: int
    most_waiting: int
    waiting_at_end: int
    unfinished: int
    keeps_up: bool
    """Every latent and every picture in time, and no frame lost."""
    peak_rss_mb: float | None
    rss_growth: float | None
    """Of resident memory, from the first to the last tenth of a turn, as a share; the largest."""
    peak_device_mb: float | None
    package_w: float | None
    gpu_w: float | None
    module_w: float | None
    joules_per_frame: float | None
    """Of all that is metered: the module, or package and GPU together."""
    cpu_mhz: float | None
    gpu_mhz: float | None
    temperature_c: float | None
    """The highest."""
    other_cores: float | None
    """CPU that everything else on the machine used meanwhile, as a number of cores."""
    stolen_cores: float | None
    """That the hypervisor gave to other machines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Latency by percentile, as far as so many latents can tell."""

    told: float
    """The highest share that they can tell."""
    shares: tuple[float, ...]
    """Of the latents that are faster, rising, below 1."""
    latency_ms: tuple[float, ...]
    """The next one's, which occurred."""

    def __post_init__(self) -> None:
        _require(len(self.shares) == len(self.latency_ms) > 0, "shares and latencies are not pairs")
        _require(all(0 <= share < 1 for share in (*self.shares, self.told)), "a share is below 1")
        _require(all(value >= 0 for value in self.latency_ms), "a latency is negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """How often each latency occurred, of all candidates in the same intervals."""

    logarithmic: bool
    edges_ms: tuple[float, ...]
    shares: tuple[tuple[float, ...], ...]
    """Of each candidate's latents, by interval; empty where it has too few."""

    def __post_init__(self) -> None:
        bins, low = len(self.edges_ms) - 1, self.edges_ms[0] if self.edges_ms else -1.0
        rising = all(a < b for a, b in zip(self.edges_ms, self.edges_ms[1:], strict=False))
        _require(bins > 0 and rising, "the edges do not rise")
        _require(low > 0 if self.logarithmic else low >= 0, "the first edge is too low")
        _require(all(len(one) in (0, bins) for one in self.shares), "a share for each interval")
        _require(all(0 <= share <= 1 for one in self.shares for share in one), "shares are 0 to 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class RanGraph:
    """A graph that ran, or that the engine which ran was built of."""

    name: str
    """As its file is called: `encoder.int8`."""
    form: str
    sha256: str
    """Of the file; empty where PyTorch ran the step."""
    data_sha256: str
    """Of its weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What was read at one time; None for what nothing here tells."""

    time_s: float
    """Since measuring began."""
    rss_mb: float | None = None
    """Resident memory of the process, MB of 1e6 bytes."""
    device_mb: float | None = None
    """Memory in use on the device, by every process; on a Jetson all of its one memory."""
    package_w: float | None = None
    """Power of the CPU packages."""
    gpu_w: float | None = None
    """Power of the GPU's board."""
    module_w: float | None = None
    """Power of a Jetson's module, CPU and GPU among it."""
    cpu_mhz: float | None = None
    gpu_mhz: float | None = None
    temperature_c: float | None = None
    """Of the hottest place that is measured."""
    other_cores: float | None = None
    """CPU time over time of everything but this process."""
    stolen_cores: float | None = None
    """CPU time over time that the hypervisor gave to other machines."""

    @property
    def power_w(self) -> float | None:
        """All that is metered."""
        return metered_w(self.package_w, self.gpu_w, self.module_w)


def metered_w(package_w: float | None, gpu_w: float | None, module_w: float | None) -> float | None:
    """The power of all that is metered; a module's is that of everything on it."""
    parts = [watts for watts in (package_w, gpu_w) if watts is not None]
    return module_w if module_w is not None else sum(parts) if parts else None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallTimes:
    """Where the time of each call of a step went, in whole microseconds."""

    upload: tuple[int, ...]
    compute: tuple[int, ...]
    download: tuple[int, ...]
    overhead: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnResult:
    """One turn, every latency of it in whole microseconds, by slot."""

    started: float
    """Unix time."""
    backend: str
    graphs: tuple[str, ...]
    meters: tuple[str, ...]
    meters_missing: tuple[str, ...]
    """What would have been metered, and what that takes."""
    frames: int
    dropped: int
    most_waiting: int
    waiting_at_end: int
    unfinished: int
    elapsed_us: int
    busy_us: int
    cpu_us: int
    peak_rss_mb: float | None
    peak_device_mb: float | None
    start_up: StartUp
    latency_us: tuple[tuple[int, ...], ...]
    ready_us: tuple[tuple[int, ...], ...]
    """When each latent was, since measuring began."""
    picture_latency_us: tuple[tuple[int, ...], ...]
    encoder_calls_us: CallTimes
    decoder_calls_us: CallTimes
    samples: tuple[Sample, ...]

    def __post_init__(self) -> None:
        latents = [len(slot) for slot in self.latency_us]
        _require(latents == [len(slot) for slot in self.ready_us], "ready_us is not latency_us'")
        times = [v for slots in (self.latency_us, self.ready_us) for slot in slots for v in slot]
        _require(min([self.elapsed_us, *times]) >= 0, "a time is negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipQuality:
    """What the bundle's verification said of one precision on one clip."""

    graphs: str
    """`fp32`, `fp16`, `int8`, `int8-tensorrt`."""
    clip: str
    tokens_equal: float | None
    """To those of float32, as a share."""
    psnr_db: float
    """Of the reconstruction against the source."""
    ssim: float
    loss_db: float
    """Of PSNR, to float32's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenQuality:
    """What the proof that it ran under found, against the reference in float32."""

    tokens_equal: float | None
    """As a share; None where latents are no tokens."""
    pictures_db: float | None
    """Of the pictures over their error; None where nothing was decoded."""

    def __post_init__(self) -> None:
        _require(0 <= (self.tokens_equal or 0) <= 1, "a share of equal tokens is 0 to 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceilings:
    """Rates that a device reached, measured; a multiply-add is two operations."""

    device: str
    """`CPU`, or the GPU's name."""
    copy_gbs: float
    """10^9 bytes per second, read and written."""
    fp32_tflops: float
    """10^12 operations per second, without TF32."""
    fp16_tflops: float | None
    """None where it was not measured: no CPU's is worth it."""

    def __post_init__(self) -> None:
        rates = (self.copy_gbs, self.fp32_tflops, self.fp16_tflops)
        _require(all(rate is None or rate > 0 for rate in rates), "a rate is not positive")

    @property
    def of_cpu(self) -> bool:
        return self.device == "CPU"

    def tflops(self, precision: str) -> float | None:
        """Of `fp32` or `fp16`; None for what was not measured, as INT8."""
        return {"fp32": self.fp32_tflops, "fp16": self.fp16_tflops}.get(precision)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallWork:
    """What one call of a step takes at least, as `plan` counts it: docs/plan.md."""

    kind: Literal["encoder", "decoder"]
    operations: float
    """Of convolutions and attention; a multiply-add is two."""
    moved_bytes: float
    """Weights, caches in and out, inputs and outputs; no activations."""

    def __post_init__(self) -> None:
        _require(min(self.operations, self.moved_bytes) >= 0, "work is negative")

    def least_ms(self, ceilings: Ceilings, precision: str) -> float | None:
        """Of a call that reaches both ceilings; None where one was not measured."""
        tflops = ceilings.tflops(precision)
        if tflops is None:
            return None
        computing_s = self.operations / (tflops * 1e12)
        return 1e3 * max(computing_s, self.moved_bytes / (ceilings.copy_gbs * 1e9))

    def roofline_share(
        self, ceilings: Ceilings | None, precision: str, taken_ms: float
    ) -> float | None:
        """That least time as a share of what a call took; None where either is not known."""
        least = None if ceilings is None else self.least_ms(ceilings, precision)
        return None if least is None or not taken_ms else least / taken_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateResult:
    """One candidate: what it is, and what was measured of it."""

    name: str
    bundle: str
    backend: str
    """As it was asked for."""
    precision: str
    threads: int | None
    variant: str
    weights: WeightsFacts
    toolkit: str
    verified: bool
    runs_on: str
    graphs: tuple[RanGraph, ...]
    """The encoder's, and the decoder's where it ran."""
    io: str
    height: int
    width: int
    streams: int
    chunk: int
    frames_per_latent: int
    figures: Figures
    curve: Curve | None
    quality: tuple[ClipQuality, ...]
    """Of all of the bundle's precisions; empty where nobody measured it."""
    turns: tuple[TurnResult, ...]
    proof: str = field(default="", metadata=ADDED_LATER)
    """The proof that it ran under, or why there is none (docs/prove.md); empty where PyTorch ran
    the steps, which prove nothing."""
    compile_mode: str = field(default="", metadata=ADDED_LATER)
    """Of torch.compile; empty where nothing was compiled, or nobody chose."""
    proven: ProvenQuality | None = field(default=None, metadata=ADDED_LATER)
    """Of the proof that it ran under; None where there is none."""
    work: tuple[CallWork, ...] = field(default=(), metadata=ADDED_LATER)
    """The encoder's, and the decoder's where it ran; empty where nobody counted it."""

    def __post_init__(self) -> None:
        _require(bool(self.turns), "there is no turn")
        _require(bool(self.graphs), "there is no graph")


# --- what was found of all --------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """How a candidate compares with the first one, round by round; above 1 is faster."""

    candidate: str
    against: str
    metric: str
    candidates: int
    """That were compared in this run."""
    rounds: int
    faster: int
    """In how many rounds it was."""
    slower: int
    median: float
    low: float
    high: float
    p: float
    """Of the sign test."""
    verdict: str
    """`faster` or `slower` where luck would hardly make the rounds agree so."""

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.low:.3g}..{self.high:.3g}), {self.verdict}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A frame, or what a candidate made of it."""

    name: str
    """The candidate's, or `original`."""
    psnr_db: float | None
    """Against the original; None of the original, and where both are equal."""
    height: int
    width: int
    png: str
    """The file, in base64."""

    def __post_init__(self) -> None:
        try:
            data = base64.b64decode(self.png, validate=True)
        except binascii.Error as error:
            raise ValueError(f"a picture is not base64: {error}") from None
        _require(data.startswith(_PNG) and len(data) > 24, "a picture is no PNG file")
        width, height = struct.unpack(">II", data[16:24])
        _require((width, height) == (self.width, self.height), "a picture has another size")
        _require(min(width, height) > 0, "a picture is empty")
        _require(max(width, height) <= LARGEST_PICTURE, f"a picture is over {LARGEST_PICTURE} wide")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """One frame as each candidate of the runtime's own reconstructs it."""

    shown: tuple[Picture, ...]
    missing: str
    """Why there are none; empty where there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """Everything; `candidates[0]` is what the others are held to."""

    format: str
    schema: int
    started: str
    """ISO 8601, UTC."""
    machine: Machine
    settings: Settings
    method: Method
    candidates: tuple[CandidateResult, ...]
    """Those of which a round is complete."""
    troubles: tuple[str, ...]
    """What of the plan was not measured, and why."""
    ratios: tuple[Ratio, ...]
    histogram: Histogram | None
    pictures: Pictures | None
    """None: nobody asked for them, or no candidate is the runtime's own."""
    ceilings: tuple[Ceilings, ...] = field(default=(), metadata=ADDED_LATER)
    """Of the devices that candidates ran on, measured in the same run."""

    def __post_init__(self) -> None:
        _require(datetime.fromisoformat(self.started).tzinfo is not None, "started has no zone")
        _require(bool(self.candidates), "there is no candidate")
        shares = len(self.candidates if self.histogram is None else self.histogram.shares)
        _require(shares == len(self.candidates), "the histogram is not of these candidates")

    def ceilings_of(self, part: Breakdown) -> Ceilings | None:
        """Of the device that a step ran on: a CPU copies nothing to or from it."""
        on_cpu = part.upload_ms is None
        return next((one for one in self.ceilings if one.of_cpu == on_cpu), None)

    @property
    def started_at(self) -> datetime:
        """When."""
        return datetime.fromisoformat(self.started)


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(what)
