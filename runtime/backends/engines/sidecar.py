"""The sidecar of an engine, a JSON file beside it: what the engine was built from, for what.

The sidecar decides whether an engine may be loaded. It needs no TensorRT to be read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from vidtok_edge.errors import EngineMissing, EngineStale
from vidtok_edge.hashes import sha256_of, sha256_of_parts
from vidtok_edge.runtime.backends.backend import Target
from vidtok_edge.runtime.backends.engines.memory import Memory
from vidtok_edge.runtime.manifest.documents import DocumentKind, fields, write_document
from vidtok_edge.runtime.manifest.graphs import GraphSpec, Precision, TensorSpec
from vidtok_edge.runtime.manifest.plain import ADDED_LATER, to_plain

__all__ = [
    "ENGINES",
    "FLAGS",
    "NO_TF32",
    "SIDECAR_SCHEMA",
    "TF32_OF_FP16",
    "EngineFile",
    "EngineHost",
    "EngineSidecar",
    "MemoryTime",
    "OtherEngine",
    "PrecisionProof",
    "PrecisionShare",
    "check_engine",
    "engine_file",
    "layers_sha256",
    "memory_told",
    "mismatches",
    "read_sidecar",
    "write_sidecar",
]

ENGINES = "engines"
SIDECAR_SCHEMA = 2
_DOCUMENT = DocumentKind(
    schema=SIDECAR_SCHEMA,
    largest=1 << 20,  # a real one has about 1,500
    too_large="it has more than {mib} MiB",
    not_text="it is not UTF-8 text",
    no_object="it is no object",
    other_schema="schema: this toolkit reads {schema}",
)

NO_TF32 = "no TF32"
TF32_OF_FP16 = "TF32 of FP16 values"
"""Where values are those of FP16, TF32 keeps all of them, and sums in float32."""
FLAGS: Mapping[Target, tuple[str, ...]] = {
    Target.TENSORRT: ("STRONGLY_TYPED", NO_TF32),
    # Without the last one a TensorRT-RTX engine may allocate while it runs, and is not captured.
    Target.TENSORRT_RTX: ("STRONGLY_TYPED", NO_TF32, "REQUIRE_USER_ALLOCATION"),
}
"""What an engine must have been built with to be run; `TF32_OF_FP16` in place of `NO_TF32` where it
sums in float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineHost:
    """Where an engine is to run: the TensorRT of a machine, and a GPU."""

    target: Target
    version: str
    """Of TensorRT or TensorRT-RTX, as `10.3.0`."""
    gpu: str
    """Compute capability, as `sm87`."""
    gpu_name: str = ""
    """As the driver calls it; empty where no GPU is present (TensorRT-RTX builds without)."""
    platform: str = ""
    """System and processor, as `Linux aarch64`."""

    @property
    def product(self) -> str:
        """As `TensorRT-RTX 1.7.1`."""
        return f"{self.target.product} {self.version}"

    def __str__(self) -> str:
        return f"{self.product}, {self.gpu}{self.gpu_name and f' ({self.gpu_name})'}"


@dataclass(frozen=True, slots=True)
class PrecisionShare:
    """What runs in one precision: convolutions and matrix products, and their multiply-adds."""

    precision: Literal["fp32", "fp16", "int8", "other", "unknown"]
    layers: int
    multiply_adds: int


@dataclass(frozen=True, slots=True)
class PrecisionProof:
    """In which precision the work of an engine really runs, and how that is known.

    `engine inspector`: what TensorRT says of the built engine. `network`: what the strongly typed
    network demands, which TensorRT must obey, read where there is no GPU to inspect an engine on.
    """

    source: Literal["engine inspector", "network"]
    shares: tuple[PrecisionShare, ...]
    fp16_sums: int = field(default=0, metadata=ADDED_LATER)
    """How many of the layers sum their products in FP16, by the names of their kernels."""
    float32_sums: int = field(default=0, metadata=ADDED_LATER)
    """How many of those that are counted as FP16 were told to sum in float32."""

    def work_permille(self, *precisions: str) -> int:
        """Share of the multiply-adds that run in any of `precisions`, in thousandths."""
        total = sum(share.multiply_adds for share in self.shares)
        part = sum(s.multiply_adds for s in self.shares if s.precision in precisions)
        return round(1000 * part / total) if total else 0

    def layers(self, *precisions: str) -> int:
        """How many convolutions and matrix products run in any of `precisions`."""
        return sum(share.layers for share in self.shares if share.precision in precisions)

    def __str__(self) -> str:
        total = sum(share.layers for share in self.shares)
        parts = [
            f"{s.precision} {self.work_permille(s.precision) / 10:.1f} % of the work in "
            f"{s.layers} of {total} layers"
            for s in self.shares
            if s.layers
        ]
        for precision, layers in (("float32", self.float32_sums), ("fp16", self.fp16_sums)):
            if layers:
                parts.append(f"{layers} of {total} sum in {precision}")
        return f"{'; '.join(parts) or 'no convolution or matrix product'} ({self.source})"


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherEngine:
    """An engine of the same kind that was measured beside this one, and not kept."""

    precision: Precision
    form: str
    step_ms: float
    fault: str = field(default="", metadata=ADDED_LATER)
    """What it gave wrong, first of all; empty where nothing was."""
    float32_sums: bool = field(default=False, metadata=ADDED_LATER)
    """Whether its FP16 convolutions sum in float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryTime:
    """What an engine takes with its frames and tokens in one kind of memory."""

    memory: Memory
    call_ms: float
    """Of a call, with the host's writing of its inputs and reading of its outputs."""
    fault: str = field(default="", metadata=ADDED_LATER)
    """What it gave wrong; empty where nothing was."""

    def __str__(self) -> str:
        return f"{self.memory} {self.fault or f'{self.call_ms:.3f} ms a call'}"


def memory_told(memory: str, times: Iterable[MemoryTime]) -> str:
    """As `frames and tokens in mapped memory (device 0.971 ms a call; mapped 0.913 ms a call)`."""
    measured = "; ".join(map(str, times))
    return f"frames and tokens in {memory} memory" + (f" ({measured})" if measured else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSidecar:
    """The facts of one engine."""

    schema: int
    toolkit: str
    graph: str
    """Name of the graph in the manifest, as `encoder.int8-tensorrt`."""
    target: Target
    version: str
    gpu: str
    gpu_name: str
    platform: str
    onnx_sha256: str
    data_sha256: str
    precision: Precision
    form: str
    int8_layers_sha256: str
    """Of the names of the layers that the precision policy put into INT8."""
    workspace_mb: int | None
    """Limit of the builder's scratch memory; None: TensorRT's own."""
    optimization: int | None
    """The builder's optimisation level; None: TensorRT's own."""
    flags: tuple[str, ...]
    build_seconds: float
    engine_sha256: str
    engine_bytes: int
    proof: PrecisionProof
    step_ms: float | None = None
    """Median of a call, copies included, where it was measured on its GPU."""
    slower: tuple[OtherEngine, ...] = ()
    faulty: tuple[OtherEngine, ...] = field(default=(), metadata=ADDED_LATER)
    """Those that did not give the golden stream, however fast."""
    unfused: tuple[str, ...] = field(default=(), metadata=ADDED_LATER)
    """Patterns of the layers whose tensors were marked as outputs, so that nothing is fused over
    them."""
    extra_outputs: tuple[TensorSpec, ...] = field(default=(), metadata=ADDED_LATER)
    """Those tensors: the engine writes them beside the outputs of its graph, and nothing reads
    them."""
    float32_sums: bool = field(default=False, metadata=ADDED_LATER)
    """Whether its FP16 convolutions sum in float32."""
    memory: Memory | None = field(default=None, metadata=ADDED_LATER)
    """Where its frames and tokens lie, when a stream does not ask for another; None: nobody chose,
    and it is memory of the device."""
    memories: tuple[MemoryTime, ...] = field(default=(), metadata=ADDED_LATER)
    """What was measured to choose it; empty where it was not measured."""

    def to_document(self) -> dict[str, object]:
        """As its file has it, with a digest over the content.

        The digest notices an edit or a bad copy. It is no signature: who edits the file on purpose
        can compute it again.
        """
        facts = to_plain(self)
        return {**facts, "digest": _digest(facts)}

    def to_json(self) -> str:
        """The text of its file."""
        return json.dumps(self.to_document(), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> EngineSidecar:
        """Read strictly; ValueError says what does not fit, or that the file was edited."""
        value = _DOCUMENT.parsed(text)
        digest = value.pop("digest", None)
        sidecar = fields(cls, value)
        if digest != _digest(value):
            raise ValueError("it was edited: its digest does not fit its content")
        return sidecar


@dataclass(frozen=True, slots=True)
class EngineFile:
    """An engine that fits its graph and this machine, and its sidecar."""

    path: Path
    sidecar: EngineSidecar


def engine_file(folder: Path, graph: GraphSpec, target: str, gpu: str) -> Path:
    """Where the engine of `graph` lies in the bundle `folder`; its sidecar is `.json` beside it.

    For example `engines/encoder.int8.tensorrt.sm87.engine`: one engine per GPU architecture, so
    that one can be built, shipped and go stale without the others.
    """
    return folder / ENGINES / f"{graph.kind}.{graph.precision}.{target}.{gpu}.engine"


def layers_sha256(names: Iterable[str]) -> str:
    """SHA-256 of a set of layer names."""
    return sha256_of_parts(["\n".join(sorted(names)).encode()])


def check_engine(folder: Path, graph: GraphSpec, target: Target, here: EngineHost) -> EngineFile:
    """The engine of `graph` for this machine, if it may be loaded.

    Args:
        folder: the bundle's.
        graph: one of the bundle's graphs.
        target: the TensorRT that shall run it.
        here: this machine.

    Raises:
        EngineMissing: there is none for this target and GPU.
        EngineStale: it differs from its graph, this machine or its sidecar; each fact is named.
    """
    path = engine_file(folder, graph, target, here.gpu)
    again = f"Build it on this machine with: vidtok-edge build {folder} --target {target}"
    if not path.is_file():
        raise EngineMissing(f"{path} is not there. {again} --precision {graph.precision}")
    try:
        sidecar = read_sidecar(path)
        wrong = mismatches(sidecar, graph, here)
        if not wrong:
            wrong = _file_mismatches(sidecar, path)
    except (ValueError, OSError) as error:
        wrong = (f"its sidecar {path.with_suffix('.json').name}: {error}",)
    if wrong:
        raise EngineStale(f"{path} is not loaded: {'; '.join(wrong)}. {again}", wrong)
    return EngineFile(path, sidecar)


def mismatches(sidecar: EngineSidecar, graph: GraphSpec, here: EngineHost) -> tuple[str, ...]:
    """Every fact in which an engine is not that of `graph` on `here`, as `fact: built …, now …`."""
    pairs = [
        ("graph", sidecar.graph, graph.name),
        ("target", sidecar.target, here.target),
        (f"{here.product.split()[0]} version", sidecar.version, here.version),
        ("GPU", sidecar.gpu, here.gpu),
        ("ONNX sha256", sidecar.onnx_sha256[:12], graph.sha256[:12]),
        ("weights sha256", sidecar.data_sha256[:12], graph.data_sha256[:12]),
        ("precision", sidecar.precision, graph.precision),
        ("form", sidecar.form, graph.form),
        (
            "INT8 layers",
            sidecar.int8_layers_sha256[:12],
            layers_sha256(graph.int8_layers)[:12],
        ),
        ("flags", ", ".join(sidecar.flags), ", ".join(_flags(sidecar, here.target))),
    ]
    if not here.target.any_gpu_model:
        pairs.append(("GPU model", sidecar.gpu_name, here.gpu_name))
        pairs.append(("platform", sidecar.platform, here.platform))
    return tuple(
        f"{fact}: built for {_shown(built)}, here {_shown(now)}"
        for fact, built, now in pairs
        if built != now
    )


def _flags(sidecar: EngineSidecar, target: Target) -> tuple[str, ...]:
    tf32 = TF32_OF_FP16 if sidecar.float32_sums else NO_TF32
    return tuple(tf32 if flag == NO_TF32 else flag for flag in FLAGS[target])


def _file_mismatches(sidecar: EngineSidecar, path: Path) -> tuple[str, ...]:
    size = path.stat().st_size
    if size != sidecar.engine_bytes:
        return (f"engine: {size} bytes, the sidecar says {sidecar.engine_bytes}",)
    if (found := sha256_of(path)) != sidecar.engine_sha256:
        was = sidecar.engine_sha256[:12]
        return (f"engine: SHA-256 {found[:12]}…, the sidecar says {was}…",)
    return ()


def read_sidecar(engine: Path) -> EngineSidecar:
    """The sidecar of an engine; ValueError says why it cannot be used."""
    path = engine.with_suffix(".json")
    if not path.is_file():
        raise ValueError("it is missing")
    return EngineSidecar.from_json(_DOCUMENT.text(path))


def write_sidecar(engine: Path, sidecar: EngineSidecar) -> None:
    """Replace the sidecar of an engine. Raises OutputNotWritable."""
    write_document(engine.with_suffix(".json"), sidecar.to_document())


def _digest(facts: object) -> str:
    plain = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return sha256_of_parts([plain.encode()])


def _shown(fact: str) -> str:
    return fact or "nothing"
