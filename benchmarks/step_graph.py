"""What a step costs: the original in PyTorch, a naive export of it, and our two forms.

    python benchmarks/step_graph.py --quick --only embedded-256

One paired run: every round runs every candidate once, so that a ratio compares neighbours in time.
README.md says how to read it.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from unittest import mock

import click
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # torch and onnxruntime are imported where they are used: a child must start bare
    import torch

    from vidtok_edge.export.forms import FormName
    from vidtok_edge.runtime import Bundle, Latents
    from vidtok_edge.runtime.backend import Step
    from vidtok_edge.vidtok_ref import VidTok

Kind = Literal["encoder", "decoder"]
KINDS: tuple[Kind, ...] = ("encoder", "decoder")
FORMS: tuple[FormName, ...] = ("conv2d", "conv3d")
CLOCKS = ("cpu", "wall")
EMBEDDED_SIZE = 256
MEMORY_CHUNKS = 8
SAMPLE_S = 0.2  # a sample repeats short steps until it is about this long
SETTLE_S = 0.02  # between samples: idle workers of the candidate before stop spinning
FLAT_SHARE = 0.1
FLAT_TIME, FLAT_MEMORY = 1.05, 1.01  # last 10 % against first 10 %


# --- numbers ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Spread:
    """Median, minimum and maximum of paired rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values))

    def ratio_text(self) -> str:
        """A ratio with its spread; one that does not exclude 1 says so."""
        noise = ", inside the noise" if self.low <= 1 <= self.high else ""
        return f"{self.median:.2f} ({self.low:.2f}..{self.high:.2f}){noise}"

    def percent_text(self) -> str:
        return f"{self.median:.2%} ({self.low:.2%}..{self.high:.2%})"


@dataclass(frozen=True)
class Sample:
    """Seconds of one step."""

    cpu: float
    """Of all threads of the process."""
    wall: float

    def __getitem__(self, clock: str) -> float:
        return self.cpu if clock == "cpu" else self.wall


def measure(run: Callable[[], object], repeats: int = 1) -> Sample:
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(repeats):
        run()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return Sample(cpu / repeats, wall / repeats)


def ratios(over: Sequence[Sample], under: Sequence[Sample], clock: str) -> Spread:
    return Spread.of([a[clock] / b[clock] for a, b in zip(over, under, strict=True)])


# --- what is run ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Settings:
    """What the command line asked for."""

    runs: int
    warm_up: int
    chunks: int
    threads: int
    threads_are_default: bool
    """True where every library would take that many by itself: then none is told."""
    passive: bool
    compile: bool


@dataclass(frozen=True)
class Case:
    """A model at one size."""

    variant: str
    weights: str | None
    size: int


CASES = {
    "full-64": Case("vidtok_fsq_causal_488_32768", "random", 64),
    "full-128": Case("vidtok_fsq_causal_488_32768", "random", 128),
    "embedded-256": Case("fsq", None, EMBEDDED_SIZE),
}
CHECKS = ("overhead", "import", "memory", "flat")


@dataclass(frozen=True)
class Candidate:
    """One way to compute a step; `output` is in the layout of the original, [B, C, T, H, W]."""

    name: str
    run: Callable[[], object]
    output: Callable[[], NDArray[Any]]


@dataclass(frozen=True)
class StepInput:
    """One chunk, as the graphs and as the original modules take it."""

    name: str
    array: NDArray[Any]
    tensor: torch.Tensor


def step_input(model: VidTok, kind: Kind, size: int) -> StepInput:
    """f random frames, or one latent of random tokens."""
    import torch

    from vidtok_edge.vidtok_ref.regularizer import codes_from_tokens

    variant, random = model.variant, np.random.default_rng(0)
    if kind == "encoder":
        shape = (1, variant.time_factor, size, size, 3)
        frames = random.integers(0, 256, shape, dtype=np.uint8)
        video = torch.from_numpy(frames).permute(0, 4, 1, 2, 3).float() / 127.5 - 1.0
        return StepInput("frames", frames, video.contiguous())
    grid = size // variant.space_factor
    tokens = random.integers(0, variant.codebook_size, (1, 1, grid, grid), dtype=np.int32)
    codes = codes_from_tokens(torch.from_numpy(tokens), variant.levels)
    return StepInput("tokens", tokens, codes.contiguous())


def torch_candidate(name: str, module: Callable[[Any], Any], given: StepInput) -> Candidate:
    import torch

    def run() -> Any:
        with torch.inference_mode():
            return module(given.tensor)

    return Candidate(name, run, lambda: np.asarray(run().numpy()))


@contextmanager
def session_options(settings: Settings, spinning: bool | None) -> Iterator[None]:
    """Let sessions opened inside wait as told (None: as ONNX Runtime does by itself)."""
    import onnxruntime as ort

    original = ort.SessionOptions

    def tuned() -> Any:
        options = original()
        if not settings.threads_are_default:
            options.intra_op_num_threads = settings.threads
        if spinning is not None:
            options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
        return options

    with mock.patch.object(ort, "SessionOptions", tuned):
        yield


def naive_candidate(
    module: torch.nn.Module, given: StepInput, settings: Settings, folder: Path
) -> Candidate:
    """The original module as `torch.onnx.export` writes it, in ONNX Runtime."""
    import onnxruntime as ort

    path = folder / "naive.onnx"
    export_naive(module, given.tensor, path)
    with session_options(settings, False if settings.passive else None):
        session = ort.InferenceSession(
            str(path), ort.SessionOptions(), providers=["CPUExecutionProvider"]
        )
    feed = {session.get_inputs()[0].name: given.tensor.numpy()}

    def run() -> Any:
        return session.run(None, feed)[0]

    return Candidate("naive export", run, run)


def export_naive(module: torch.nn.Module, example: torch.Tensor, path: Path) -> None:
    import torch

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module, (example,), dynamo=True, opset_version=20, verbose=False
        )
        assert program is not None
        program.save(str(path), external_data=True)


def form_candidate(name: str, step: Step, kind: Kind, given: StepInput) -> Candidate:
    step.inputs[given.name][:] = given.array

    def run() -> None:
        step.run()

    def output() -> NDArray[Any]:
        step.inputs["start"][:] = True  # the original sees a zero past
        step.run()
        step.inputs["start"][:] = False
        if kind == "encoder":
            return step.outputs["latent"].transpose(0, 2, 1, 3, 4).copy()
        return step.outputs["frames"].transpose(0, 4, 1, 2, 3) / np.float32(127.5) - 1

    return Candidate(name, run, output)


# --- a case -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """What was measured of one candidate."""

    name: str
    seconds: dict[str, Spread]
    against_eager: dict[str, Spread]
    """Seconds of eager over seconds of this one, per round and clock: above 1 is faster."""
    against_naive: dict[str, Spread]
    max_difference: float
    samples: list[Sample]


@dataclass(frozen=True)
class Table:
    """One case and kind."""

    case: str
    kind: Kind
    repeats: int
    load_average: float
    rows: list[Row]

    def row(self, name: str) -> Row:
        return next(row for row in self.rows if row.name == name)


def run_case(name: str, settings: Settings, notes: list[str]) -> list[Table]:
    from vidtok_edge.vidtok_ref import load_weights

    case = CASES[name]
    model, _ = load_weights(case.variant, case.weights)
    with tempfile.TemporaryDirectory(prefix="step_graph_") as folder:
        bundles = write_bundles(name, model, case.size, Path(folder))
        tables = []
        for kind in KINDS:
            tables.append(run_kind(name, kind, model, bundles, settings, Path(folder), notes))
            gc.collect()
    return tables


def write_bundles(
    name: str, model: VidTok, size: int, folder: Path, forms: tuple[FormName, ...] = FORMS
) -> dict[FormName, Bundle]:
    from vidtok_edge.export.bundle_files import write_graphs
    from vidtok_edge.export.step import StepOptions

    bundles = {}
    with progress(forms, f"{name}: exporting") as items:
        for form in items:
            (folder / form).mkdir()
            options = StepOptions(height=size, width=size, form=form)
            bundles[form] = write_graphs(model, options, folder / form)
    return bundles


def run_kind(
    name: str,
    kind: Kind,
    model: VidTok,
    bundles: dict[FormName, Bundle],
    settings: Settings,
    folder: Path,
    notes: list[str],
) -> Table:
    import torch

    given = step_input(model, kind, CASES[name].size)
    module = model.encoder if kind == "encoder" else model.decoder
    with ExitStack() as steps:
        candidates = [torch_candidate("eager", module, given)]
        if settings.compile:
            compiled = torch_candidate("torch.compile", torch.compile(module), given)
            try:
                seconds = measure(compiled.run).wall
                notes.append(f"{name} {kind}: torch.compile needed {seconds:.0f} s to compile.")
                candidates.append(compiled)
            except Exception as error:  # a missing C++ compiler, above all
                notes.append(f"{name} {kind}: torch.compile failed: {str(error).splitlines()[0]}")
        candidates.append(naive_candidate(module, given, settings, folder))
        for form, spinning in form_settings(settings):
            step = steps.enter_context(open_form(bundles[form], kind, settings, spinning))
            label = form if spinning is None or settings.passive else f"{form}, no spinning"
            candidates.append(form_candidate(label, step, kind, given))
        differences = max_differences(candidates, kind)
        repeats, samples = run_rounds(candidates, settings, f"{name} {kind}")
        rows = [
            make_row(c.name, samples, difference)
            for c, difference in zip(candidates, differences, strict=True)
        ]
    return Table(name, kind, repeats, os.getloadavg()[0], rows)


def form_settings(settings: Settings) -> list[tuple[FormName, bool | None]]:
    """Which forms to open, and how they wait."""
    if settings.passive:
        return [(form, False) for form in FORMS]
    return [("conv2d", None), ("conv3d", None), ("conv2d", False)]


def open_form(bundle: Bundle, kind: Kind, settings: Settings, spinning: bool | None) -> Step:
    from vidtok_edge.runtime.backend import open_step

    graph = bundle.manifest.graph(kind)
    with session_options(settings, spinning):
        return open_step(graph, bundle.path / graph.file, "cpu")


def max_differences(candidates: Sequence[Candidate], kind: Kind) -> list[float]:
    """Largest absolute difference to the first candidate; uint8 frames round and clamp."""
    outputs = [c.output() for c in candidates]
    if kind == "decoder":
        outputs = [output.clip(-1, 1) for output in outputs]
    return [float(np.abs(output - outputs[0]).max()) for output in outputs]


def run_rounds(
    candidates: Sequence[Candidate], settings: Settings, label: str
) -> tuple[int, dict[str, list[Sample]]]:
    """Samples of every candidate, and how many steps each one is the mean of."""
    for _ in range(settings.warm_up):
        seconds = [measure(candidate.run).wall for candidate in candidates]
    repeats = max(1, min(20, round(SAMPLE_S / max(seconds))))
    samples: dict[str, list[Sample]] = {candidate.name: [] for candidate in candidates}
    with progress(range(settings.runs), f"{label}: measuring") as rounds:
        for number in rounds:
            shift = number % len(candidates)  # nobody always follows the same neighbour
            for candidate in (*candidates[shift:], *candidates[:shift]):
                time.sleep(SETTLE_S)
                samples[candidate.name].append(measure(candidate.run, repeats))
    return repeats, samples


def make_row(name: str, samples: dict[str, list[Sample]], difference: float) -> Row:
    mine = samples[name]
    return Row(
        name,
        {clock: Spread.of([s[clock] for s in mine]) for clock in CLOCKS},
        {clock: ratios(samples["eager"], mine, clock) for clock in CLOCKS},
        {clock: ratios(samples["naive export"], mine, clock) for clock in CLOCKS},
        difference,
        mine,
    )


# --- the runtime around the step --------------------------------------------------------------


@dataclass(frozen=True)
class Overhead:
    """What a push costs beside its step, as a share of the step."""

    kind: Kind
    step_ms: dict[str, Spread]
    inside: dict[str, Spread]
    """Push less the `Step.run` inside the same push."""
    against_bare: dict[str, Spread]
    """Push less a bare `Step.run` before it: two steps apart, so as noisy as steps are."""


def run_overhead(bundle: Bundle, settings: Settings) -> list[Overhead]:
    from vidtok_edge.runtime import StreamDecoder, StreamEncoder

    manifest, rounds = bundle.manifest, 4 * settings.runs
    frames = random_frames(manifest.chunk_frames, manifest.height)
    latents: list[Latents] = []
    spinning = False if settings.passive else None
    encoder_step = open_form(bundle, "encoder", settings, spinning)
    decoder_step = open_form(bundle, "decoder", settings, spinning)
    encoder, decoder = StreamEncoder(manifest, encoder_step), StreamDecoder(manifest, decoder_step)
    with encoder, decoder:
        latents = encoder.push(frames[0])

        def push_frames() -> None:
            for frame in frames:
                encoder.push(frame)

        def push_latents() -> None:
            for item in latents:
                decoder.push_values(
                    item.values, slot=item.slot
                )  # the same latents, again and again

        return [
            overhead_of("encoder", push_frames, encoder_step, rounds),
            overhead_of("decoder", push_latents, decoder_step, rounds),
        ]


def overhead_of(kind: Kind, push: Callable[[], None], step: Step, rounds: int) -> Overhead:
    run, inner = step.run, list[Sample]()
    setattr(step, "run", lambda: inner.append(measure(run)))  # noqa: B010  mypy: a method
    for _ in range(3):
        push()
    inner.clear()
    pushes, bare = [], []
    with progress(range(rounds), f"overhead: {kind}") as numbers:
        for _ in numbers:
            bare.append(measure(run))
            pushes.append(measure(push))
    assert len(inner) == rounds, "a push is one step"
    return Overhead(
        kind,
        {clock: Spread.of([1e3 * s[clock] for s in inner]) for clock in CLOCKS},
        {clock: shares(pushes, inner, clock) for clock in CLOCKS},
        {clock: shares(pushes, bare, clock) for clock in CLOCKS},
    )


def shares(pushes: Sequence[Sample], steps: Sequence[Sample], clock: str) -> Spread:
    """By how much a push is longer than its step; 0 is equal."""
    return Spread.of([a[clock] / b[clock] - 1 for a, b in zip(pushes, steps, strict=True)])


def random_frames(count: int, size: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


@dataclass(frozen=True)
class Flat:
    """Whether the step stays as fast and the process as small as they were."""

    chunks: int
    first_ms: Sample
    """Median of the first 10 % of chunks, less the warm-up."""
    last_ms: Sample
    drift: dict[str, tuple[float, float]]
    """Rise of a fitted line over the whole run, as a share of the median; its standard error."""
    rss_mb: tuple[float, float]
    """After 10 % and at the end."""


def run_flat(bundle: Bundle, settings: Settings) -> Flat:
    call = f"flat_process({str(bundle.path)!r}, step_graph.Settings(**{asdict(settings)!r}))"
    samples, rss_mb = in_fresh_process(f"import step_graph; step_graph.{call}")
    warm_up = max(2, settings.chunks // 100)
    return flat_of([Sample(*s) for s in samples[warm_up:]], settings.chunks, tuple(rss_mb))


def flat_process(path: str, settings: Settings) -> None:
    """Run in a fresh process, so that the memory is the runtime's: one long stream."""
    from vidtok_edge.runtime import Bundle

    bundle, samples, early = Bundle.load(path), list[Sample](), 0.0
    frames = random_frames(bundle.manifest.chunk_frames, bundle.manifest.height)
    spinning = False if settings.passive else None
    with session_options(settings, spinning), bundle.encoder("cpu") as encoder:
        encoder.push(frames[0])

        def push_chunk() -> None:
            for frame in frames:
                encoder.push(frame)

        with progress(range(settings.chunks), "flat: pushing chunks") as numbers:
            for number in numbers:
                if number == int(FLAT_SHARE * settings.chunks):
                    early = memory_mb("VmRSS")
                samples.append(measure(push_chunk))
        late = memory_mb("VmRSS")
    print(json.dumps([[(s.cpu, s.wall) for s in samples], (early, late)]))


def flat_of(samples: Sequence[Sample], chunks: int, rss_mb: tuple[float, float]) -> Flat:
    part = max(1, int(FLAT_SHARE * len(samples)))
    return Flat(
        chunks,
        median_ms(samples[:part]),
        median_ms(samples[-part:]),
        {clock: drift([s[clock] for s in samples]) for clock in CLOCKS},
        rss_mb,
    )


def median_ms(samples: Sequence[Sample]) -> Sample:
    cpu, wall = (1e3 * statistics.median(s[clock] for s in samples) for clock in CLOCKS)
    return Sample(cpu, wall)


def drift(values: Sequence[float], blocks: int = 20) -> tuple[float, float]:
    """A line through the medians of blocks: its rise over the run and the rise's standard error."""
    heights = [float(np.median(block)) for block in np.array_split(np.asarray(values), blocks)]
    middles = (np.arange(blocks) + 0.5) / blocks
    line, covariance = np.polyfit(middles, heights, 1, cov=True)
    middle = statistics.median(heights)
    return float(line[0]) / middle, float(covariance[0, 0]) ** 0.5 / middle


# --- fresh processes --------------------------------------------------------------------------


def memory_mb(what: Literal["VmHWM", "VmRSS"]) -> float:
    """Peak or present resident memory of this process, in MB (1e6 bytes).

    Not `ru_maxrss`: on Linux a child inherits its parent's through exec.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError as error:
        raise click.ClickException(f"Memory is read from /proc, on Linux only ({error}).") from None
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(what))


def in_fresh_process(code: str) -> Any:
    """What `code` prints, as JSON; it can import this file."""
    paths = [str(Path(__file__).resolve().parent), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


@dataclass(frozen=True)
class Import:
    """`import vidtok_edge.runtime` in fresh interpreters."""

    seconds: Spread
    loaded: list[str]
    """Which of the libraries that it must not load it loaded."""
    onnxruntime_loaded: bool


IMPORT_CODE = """
import json, sys, time
began = time.perf_counter()
import vidtok_edge.runtime
seconds = time.perf_counter() - began
watched = ("torch", "onnx", "av", "onnxruntime")
print(json.dumps([seconds, [name for name in watched if name in sys.modules]]))
"""


def run_import() -> Import:
    with progress(range(5), "import: fresh processes") as numbers:
        results = [in_fresh_process(IMPORT_CODE) for _ in numbers]
    loaded = sorted({name for _, names in results for name in names})
    seconds = Spread.of([seconds for seconds, _ in results])
    return Import(seconds, [n for n in loaded if n != "onnxruntime"], "onnxruntime" in loaded)


@dataclass(frozen=True)
class Memory:
    """Resident memory of two processes that encode and decode the same chunks, in MB."""

    runtime_imported: float
    runtime_peak: float
    torch_imported: float
    torch_peak: float

    @property
    def ratio(self) -> float:
        return self.runtime_peak / self.torch_peak


def run_memory(bundle: Bundle) -> Memory:
    calls = [f"runtime_process({str(bundle.path)!r})", "torch_process()"]
    with progress(calls, "memory: fresh processes") as items:
        results = [in_fresh_process(f"import step_graph; step_graph.{call}") for call in items]
    return Memory(*results[0], *results[1])


def runtime_process(path: str) -> None:
    """Run in a fresh process: the chunks through the runtime."""
    from vidtok_edge.runtime import Bundle

    bundle = Bundle.load(path)
    frames = random_frames(bundle.manifest.chunk_frames, bundle.manifest.height)
    with bundle.encoder("cpu") as encoder, bundle.decoder("cpu") as decoder:
        imported = memory_mb("VmRSS")
        for number in range(1 + (MEMORY_CHUNKS - 1) * len(frames)):
            for latents in encoder.push(frames[number % len(frames)]):
                decoder.push(latents)
    print(json.dumps([imported, memory_mb("VmHWM")]))


def torch_process() -> None:
    """Run in a fresh process: the same chunks through the original modules."""
    import torch

    from vidtok_edge.vidtok_ref import load_weights
    from vidtok_edge.vidtok_ref.regularizer import fsq

    model, _ = load_weights("fsq", None)
    frames = random_frames(model.variant.time_factor, EMBEDDED_SIZE)
    imported = memory_mb("VmRSS")
    with torch.inference_mode():
        for _ in range(MEMORY_CHUNKS):
            video = torch.from_numpy(frames).permute(3, 0, 1, 2).unsqueeze(0).float() / 127.5 - 1.0
            codes, _ = fsq(model.encoder(video), model.variant.levels)
            model.decoder(codes).clamp(-1.0, 1.0).add(1.0).mul(127.5).round().to(torch.uint8)
    print(json.dumps([imported, memory_mb("VmHWM")]))


# --- targets ----------------------------------------------------------------------------------


@dataclass
class Results:
    """Everything that was measured; None where it was not asked for."""

    machine: dict[str, str]
    settings: Settings
    tables: list[Table] = field(default_factory=list)
    overhead: list[Overhead] = field(default_factory=list)
    imports: Import | None = None
    memory: Memory | None = None
    flat: Flat | None = None
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Target:
    """A number to reach, and what was measured."""

    name: str
    limit: str
    measured: str
    verdict: Literal["reached", "fell short"]
    doubt: str = ""
    """Why the verdict may come out differently next time."""


def targets_of(results: Results) -> list[Target]:
    targets = [t for table in results.tables for t in speed_targets(table)]
    targets += [overhead_target(o, clock) for o in results.overhead for clock in CLOCKS]
    if results.imports:
        targets += import_targets(results.imports)
    if results.memory:
        memory = results.memory
        measured = f"{memory.runtime_peak:.0f} / {memory.torch_peak:.0f} MB = {memory.ratio:.2f}"
        name = "peak memory, runtime / PyTorch process, embedded model"
        targets.append(Target(name, "< 1/3", measured, verdict(memory.ratio < 1 / 3)))
    if results.flat:
        targets += flat_targets(results.flat)
    return targets


def speed_targets(table: Table) -> list[Target]:
    if table.case != "full-128":
        return []
    row = table.row("conv2d")
    wanted = [("eager", row.against_eager, 1.4), ("naive export", row.against_naive, 2.0)]
    if table.kind == "decoder":
        wanted = [("eager", row.against_eager, 1.3)]
    return [
        ratio_target(f"conv2d over {other}, {table.kind}, full-128, {clock}", spread[clock], limit)
        for other, spread, limit in wanted
        for clock in CLOCKS
    ]


def ratio_target(name: str, ratio: Spread, limit: float) -> Target:
    doubt = "spread crosses the limit" if ratio.low < limit <= ratio.high else ""
    return Target(name, f">= {limit}", ratio.ratio_text(), verdict(ratio.median >= limit), doubt)


def overhead_target(overhead: Overhead, clock: str) -> Target:
    share = overhead.inside[clock]
    doubt = "spread crosses the limit" if share.low <= 0.03 < share.high else ""
    name = f"push less its step, {overhead.kind}, embedded-256, {clock}"
    return Target(name, "<= 3 %", share.percent_text(), verdict(share.median <= 0.03), doubt)


def import_targets(imports: Import) -> list[Target]:
    seconds = imports.seconds
    measured = f"{seconds.median:.3f} s ({seconds.low:.3f}..{seconds.high:.3f})"
    loaded = ", ".join(imports.loaded) or "none"
    return [
        Target("import vidtok_edge.runtime", "< 0.3 s", measured, verdict(seconds.median < 0.3)),
        Target("torch, onnx, av loaded by it", "none", loaded, verdict(not imports.loaded)),
    ]


def flat_targets(flat: Flat) -> list[Target]:
    time_ratio = flat.last_ms.cpu / flat.first_ms.cpu
    early, late = flat.rss_mb
    over = f"over {flat.chunks} chunks"
    return [
        Target(
            f"step time {over}, last 10 % / first 10 %, cpu",
            f"<= {FLAT_TIME}",
            f"{flat.last_ms.cpu:.1f} / {flat.first_ms.cpu:.1f} ms = {time_ratio:.3f}",
            verdict(time_ratio <= FLAT_TIME),
        ),
        Target(
            f"memory {over}, end / after 10 %",
            f"<= {FLAT_MEMORY}",
            f"{late:.1f} / {early:.1f} MB = {late / early:.3f}",
            verdict(late / early <= FLAT_MEMORY),
        ),
    ]


def verdict(passed: bool) -> Literal["reached", "fell short"]:
    return "reached" if passed else "fell short"


# --- the report -------------------------------------------------------------------------------


def machine_facts() -> dict[str, str]:
    import onnxruntime
    import torch

    return {
        "CPU": cpu_model(),
        "cores": str(os.cpu_count()),
        "OS": f"{platform.system()} {platform.release()} {platform.machine()}",
        "Python": platform.python_version(),
        "torch": torch.__version__,
        "onnxruntime": onnxruntime.__version__,
        "load average": " ".join(f"{load:.1f}" for load in os.getloadavg()),
    }


def cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def report_of(results: Results, targets: Sequence[Target]) -> str:
    parts = [
        ", ".join(f"{name} {value}" for name, value in results.machine.items()),
        settings_text(results.settings),
    ]
    parts += [table_text(table) for table in results.tables]
    if results.overhead:
        parts.append(overhead_text(results.overhead))
    if results.imports:
        loaded = "also loads" if results.imports.onnxruntime_loaded else "does not load"
        parts.append(f"`import vidtok_edge.runtime` {loaded} onnxruntime.")
    if results.memory:
        memory = results.memory
        parts.append(
            f"Memory, loaded and at peak: runtime {memory.runtime_imported:.0f} and "
            f"{memory.runtime_peak:.0f} MB, PyTorch {memory.torch_imported:.0f} and "
            f"{memory.torch_peak:.0f} MB."
        )
    if results.flat:
        parts.append(flat_text(results.flat))
    parts += results.notes
    if targets:
        parts.append(targets_text(targets))
    return "\n\n".join(parts)


def targets_text(targets: Sequence[Target]) -> str:
    rows = [
        [t.name, t.limit, t.measured, f"{t.verdict} ({t.doubt})" if t.doubt else t.verdict]
        for t in targets
    ]
    return "### Targets\n\n" + markdown_table(["target", "limit", "measured", ""], rows)


def settings_text(settings: Settings) -> str:
    chosen = "every library's own default" if settings.threads_are_default else "set for all"
    waiting = (
        "idle threads sleep (ORT spinning off, OMP passive)"
        if settings.passive
        else "idle threads wait as each library does by default"
    )
    return (
        f"{settings.threads} intra-op threads ({chosen}); {waiting}; {settings.runs} rounds "
        f"after {settings.warm_up} of warm-up. Ratios are per round, median (min..max); "
        "above 1 is faster."
    )


def table_text(table: Table) -> str:
    header = ["", "CPU ms", "wall ms"]
    header += [f"{other}, {clock}" for other in ("x eager", "x naive") for clock in CLOCKS]
    rows = [
        [
            row.name,
            *(f"{1e3 * row.seconds[clock].median:.1f}" for clock in CLOCKS),
            *(ratio_cell(row, "eager", row.against_eager[clock]) for clock in CLOCKS),
            *(ratio_cell(row, "naive export", row.against_naive[clock]) for clock in CLOCKS),
            f"{row.max_difference:.1e}",
        ]
        for row in table.rows
    ]
    where = f"load {table.load_average:.1f}, {table.repeats} step(s) a sample"
    title = f"### {table.case}, {table.kind} ({where})"
    return f"{title}\n\n{markdown_table([*header, 'max diff'], rows)}"


def ratio_cell(row: Row, against: str, ratio: Spread) -> str:
    return "-" if row.name == against else ratio.ratio_text()


def overhead_text(overheads: Sequence[Overhead]) -> str:
    header = ["", "clock", "step ms", "push less its own step", "push less a bare step"]
    rows = [
        [
            o.kind,
            clock,
            f"{o.step_ms[clock].median:.1f}",
            o.inside[clock].percent_text(),
            o.against_bare[clock].percent_text(),
        ]
        for o in overheads
        for clock in CLOCKS
    ]
    return "### Overhead, embedded-256\n\n" + markdown_table(header, rows)


def flat_text(flat: Flat) -> str:
    rows = [
        [
            clock,
            f"{flat.first_ms[clock]:.1f}",
            f"{flat.last_ms[clock]:.1f}",
            f"{flat.drift[clock][0]:+.2%} ± {flat.drift[clock][1]:.2%}",
        ]
        for clock in CLOCKS
    ]
    header = ["clock", "first 10 % ms", "last 10 % ms", "drift over the run"]
    return f"### Encoder over {flat.chunks} chunks, embedded-256\n\n{markdown_table(header, rows)}"


def progress(items: Any, label: str) -> Any:
    return click.progressbar(items, label=label, file=sys.stderr)


# --- the command ------------------------------------------------------------------------------


def run_all(settings: Settings, only: Sequence[str]) -> Results:
    from vidtok_edge.vidtok_ref import load_weights

    results = Results(machine_facts(), settings)
    if "import" in only:
        results.imports = run_import()
    with tempfile.TemporaryDirectory(prefix="step_graph_") as folder:
        if {"overhead", "memory", "flat"} & set(only):
            model, _ = load_weights("fsq", None)
            bundles = write_bundles("embedded", model, EMBEDDED_SIZE, Path(folder), ("conv2d",))
            bundle = bundles["conv2d"]
        if "memory" in only:
            results.memory = run_memory(bundle)
        if "overhead" in only:
            results.overhead = run_overhead(bundle, settings)
        for name in CASES:
            if name in only:
                results.tables += run_case(name, settings, results.notes)
        if "flat" in only:
            results.flat = run_flat(bundle, settings)
    return results


def parse_only(_context: click.Context, _option: click.Parameter, value: str) -> list[str]:
    known = [*CASES, *CHECKS]
    names = [name.strip() for name in value.split(",")] if value else known
    if wrong := sorted(set(names) - set(known)):
        raise click.BadParameter(f"{', '.join(wrong)}; there are {', '.join(known)}")
    return names


@click.command()
@click.option("--quick", is_flag=True, help="3 rounds and 100 chunks: does it run?")
@click.option("--compile", is_flag=True, help="Also torch.compile; it compiles for minutes.")
@click.option("--runs", type=click.IntRange(2), default=7, show_default=True, help="Rounds.")
@click.option("--chunks", type=click.IntRange(100), default=2000, show_default=True)
@click.option("--threads", type=click.IntRange(1), default=2, show_default=True, help="Intra-op.")
@click.option("--passive", is_flag=True, help="No spinning anywhere: for a shared machine.")
@click.option("--only", callback=parse_only, default="", help="Comma-separated cases and checks.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, writable=True, path_type=Path))
@click.option("--strict", is_flag=True, help="Exit 1 where a target that was measured is missed.")
def main(
    quick: bool,
    compile: bool,
    runs: int,
    chunks: int,
    threads: int,
    passive: bool,
    only: list[str],
    json_file: Path | None,
    strict: bool,
) -> None:
    """Compare step graphs with PyTorch and with a naive export, and check the targets."""
    if passive:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # read once, when torch is imported
    import torch

    default_threads = torch.get_num_threads()
    torch.set_num_threads(threads)
    runs, chunks = (3, 100) if quick else (runs, chunks)
    settings = Settings(runs, 2, chunks, threads, threads == default_threads, passive, compile)
    results = run_all(settings, only)
    targets = targets_of(results)
    click.echo(report_of(results, targets))
    if json_file:
        document = {**asdict(results), "targets": [asdict(target) for target in targets]}
        json_file.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    if strict and any(target.verdict == "fell short" for target in targets):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
