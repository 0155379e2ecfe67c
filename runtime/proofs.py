"""Proofs: JSON files of a bundle that say how a backend did with its golden stream, and on what.

A proof counts where the graphs, the engines, the library and the device are those that it names.
"""

from __future__ import annotations

import platform
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from vidtok_edge.errors import OutputNotWritable, ProofError
from vidtok_edge.runtime.backends.backend import Backend
from vidtok_edge.runtime.backends.engines.memory import Memory
from vidtok_edge.runtime.backends.engines.sidecar import (
    MemoryTime,
    engine_file,
    memory_told,
    read_sidecar,
)
from vidtok_edge.runtime.backends.gpu import present_gpu
from vidtok_edge.runtime.backends.step import BackendInfo
from vidtok_edge.runtime.manifest.documents import DocumentKind, write_document
from vidtok_edge.runtime.manifest.graphs import GraphSpec, Kind, Precision
from vidtok_edge.runtime.manifest.plain import ADDED_LATER, to_plain

__all__ = [
    "NOT_LOOKED_FOR",
    "PROOFS",
    "SCHEMA",
    "Device",
    "Difference",
    "PartFigures",
    "Proof",
    "Proven",
    "ProvenGraph",
    "device_of",
    "proof_file",
    "prove_command",
    "proven",
    "proven_graph",
    "read_proof",
    "write_proof",
]

SCHEMA = 1
PROOFS = "proof"
"""Folder of a bundle."""
_DOCUMENT = DocumentKind(
    schema=SCHEMA,
    largest=1 << 20,  # a real one has about 4,000
    too_large="it has more than {mib} MiB",
    no_object="it is no object",
    other_schema="its schema is {found}, and this toolkit reads {schema}",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What runs the graphs."""

    name: str
    """A GPU as its driver calls it, or the model of the CPU."""
    short: str
    """As in the name of a file: `sm87`, `x86_64`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenGraph:
    """The graph that ran, by its content; where an engine of it ran, that too."""

    name: str
    form: str
    onnx_sha256: str
    data_sha256: str
    engine_sha256: str
    """Empty where the ONNX file itself is run."""
    memory: str = field(default="", metadata=ADDED_LATER)
    """Where the frames and tokens of the engine lay; empty where there is none, and in proofs of
    when all were in memory of the device."""
    memories: tuple[MemoryTime, ...] = field(default=(), metadata=ADDED_LATER)
    """What the engine takes in each kind of memory; empty where it was not measured."""

    @property
    def memory_told(self) -> str:
        """Where frames and tokens lay, and what the others take; empty where that was no choice."""
        if self.memories or self.memory not in ("", Memory.DEVICE):
            return memory_told(self.memory, self.memories)
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Something that must not be."""

    kind: Kind
    latent: int
    """Of the stream, from 0: where it is seen first."""
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PartFigures:
    """How an encoder or a decoder did."""

    kind: Kind
    graph: ProvenGraph
    covered: str
    """How much was streamed, in words."""
    metric: Literal["tokens", "dB"]
    """What `value` and `limit` are: the share of equal tokens, or dB."""
    value: float
    limit: float
    tokens_differ: int | None
    """How many tokens are not the reference's; None for dB."""
    farthest: float | None
    """Of those, the largest distance to a boundary, in levels; None where there is none."""
    bit_equal: int
    """Latents or pictures that are those of the reference, bit for bit."""
    items: int
    """Latents or pictures in all."""
    runs_equal: bool
    """Whether a second run, over caches full of NaN, gave the same bits."""
    slots_equal: bool | None
    """Whether slots that were reset gave the same bits; None where there is one slot."""
    calls: int
    p50_ms: float
    """Of a call, copies included."""
    p99_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What `vidtok-edge prove` found. Truthy where it passed."""

    schema: int
    toolkit: str
    verdict: Literal["passed", "failed"]
    differences: tuple[Difference, ...]
    """What must not be, the first in the stream first."""
    backend: str
    """What ran: `cpu`, `cuda`, `tensorrt`, `tensorrt-rtx`."""
    library: str
    """With its version."""
    fell_back: str
    precision: Precision
    device: Device
    driver: str
    """Of the GPU; empty where there is none, or it does not tell."""
    variant: str
    golden_sha256: str
    """Of the arrays of the golden stream."""
    encoder: PartFigures
    decoder: PartFigures
    seconds: float
    """That it all took."""
    peak_rss_mb: float | None
    """Of the process, MB of 1e6 bytes."""
    readings: dict[str, float]
    """Of meters, at the end: memory of the device, clocks, temperature, power."""
    machine: dict[str, str]
    """Board, power mode, system, packages."""
    made: str
    """When, UTC, ISO 8601."""

    def __bool__(self) -> bool:
        return self.verdict == "passed"

    @property
    def name(self) -> str:
        """As its file is called, without `.json`: `tensorrt.fp16.sm87`."""
        return f"{self.backend}.{self.precision}.{self.device.short}"


@dataclass(frozen=True, slots=True)
class Proven:
    """What is known of what runs. Truthy where a proof of it passed."""

    proof: Proof | None
    """The one that lies there, whether or not it counts."""
    why_not: str
    """Empty where it counts."""

    def __bool__(self) -> bool:
        return not self.why_not

    def __str__(self) -> str:
        if self.proof is None or self.why_not:
            return f"no proof: {self.why_not}"
        return f"proof {self.proof.name}: {self.proof.verdict}, {self.proof.made[:10]}"


NOT_LOOKED_FOR = Proven(None, "the stream is not of a bundle, which would look for one")
"""Of a stream that no bundle opened."""


def device_of(backend: str, root: Path = Path("/")) -> Device:
    """What `backend` runs on here; `root` is where /proc is, for tests."""
    gpu = None if Backend(backend).on_cpu else present_gpu()
    if gpu is not None:
        return Device(name=gpu.name, short=gpu.architecture)
    machine = re.sub(r"[^a-z0-9_]", "_", platform.machine().lower()) or "cpu"
    try:
        info = (root / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        info = ""
    # x86 names the model; ARM the parts of it that differ.
    found = re.search(r"^model name\s*:\s*(.+)$", info, re.MULTILINE)
    parts = dict.fromkeys(re.findall(r"^CPU part\s*:\s*(\w+)", info, re.MULTILINE))
    named = found[1].strip() if found else " ".join(["CPU part", *parts]) if parts else machine
    return Device(name=named, short=machine)


def proven_graph(folder: Path, graph: GraphSpec, info: BackendInfo, short: str) -> ProvenGraph:
    """The facts of a graph that `info` runs; `folder` is that of its own bundle."""
    engine, memories = "", tuple[MemoryTime, ...]()
    if Backend(info.active).target is not None:
        try:
            sidecar = read_sidecar(engine_file(folder, graph, info.active, short))
            engine, memories = sidecar.engine_sha256, sidecar.memories
        except (OSError, ValueError):
            engine = "unknown"  # what runs was checked when it was loaded
    return ProvenGraph(
        name=graph.name,
        form=graph.form,
        onnx_sha256=graph.sha256,
        data_sha256=graph.data_sha256,
        engine_sha256=engine,
        memory=info.memory,
        memories=memories,
    )


def proof_file(folder: Path, backend: str, precision: str, short: str) -> Path:
    """Where a proof lies in the bundle `folder`: `proof/tensorrt.fp16.sm87.json`."""
    return folder / PROOFS / f"{backend}.{precision}.{short}.json"


def write_proof(folder: Path, proof: Proof) -> Path:
    """Write `proof` into the bundle `folder`, in place of the one before.

    Raises OutputNotWritable.
    """
    path = proof_file(folder, proof.backend, proof.precision, proof.device.short)
    try:
        path.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputNotWritable(
            f"{path.parent} cannot be made: {error.strerror}. Change the permissions of the "
            "bundle, or copy it to where it can be written."
        ) from None
    write_document(path, to_plain(proof))
    return path


def prove_command(bundle: Path) -> str:
    """The line that proves a bundle, as it is typed."""
    return f"vidtok-edge prove {shlex.quote(str(bundle))}"


def read_proof(path: Path) -> Proof:
    """The proof in a file. Raises ProofError: it is damaged, or of another schema."""
    try:
        return _DOCUMENT.load(Proof, path)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise ProofError(
            f"{path} is no proof that can be read: {why}. Prove the bundle again with: "
            f"{prove_command(path.parent.parent)}"
        ) from None


def proven(folder: Path, graph_folder: Path, graph: GraphSpec, info: BackendInfo) -> Proven:
    """What is known of a graph that runs here.

    Args:
        folder: the bundle's, where proofs lie.
        graph_folder: of the graph's own bundle; another one where an engine of another form runs.
        graph: that runs.
        info: what runs it.
    """
    options = f"--backend {info.active} --precision {graph.precision}"
    again = f"run: {prove_command(folder)} {options}"
    if not (folder / PROOFS).is_dir():
        return Proven(None, again)
    device = device_of(info.active)
    path = proof_file(folder, info.active, graph.precision, device.short)
    if not path.is_file():
        return Proven(None, again)
    try:
        proof = read_proof(path)
    except ProofError as error:
        return Proven(None, str(error))
    now = proven_graph(graph_folder, graph, info, device.short)
    then = proof.encoder.graph if graph.kind == "encoder" else proof.decoder.graph
    if not proof:
        return Proven(proof, f"{path.name} says failed: {proof.differences[0].text}")
    facts = [
        ("library", proof.library, info.library),
        ("device", proof.device.name, device.name),
        ("graph", then.name, now.name),
        ("form", then.form, now.form),
        ("ONNX sha256", then.onnx_sha256[:12], now.onnx_sha256[:12]),
        ("weights sha256", then.data_sha256[:12], now.data_sha256[:12]),
        ("engine sha256", then.engine_sha256[:12], now.engine_sha256[:12]),
        ("memory", then.memory or (now.memory and Memory.DEVICE), now.memory),
    ]
    wrong = [f"{fact}: proven {a or 'none'}, here {b or 'none'}" for fact, a, b in facts if a != b]
    if wrong:
        return Proven(proof, f"{path.name} is of something else ({'; '.join(wrong)}); {again}")
    return Proven(proof, "")
