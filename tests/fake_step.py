"""A step graph in numpy whose results say exactly what it was given; the streams' logic, fast.

Frame number v is an 8x8 picture of v; the latent grid is 1x1. A token is a running hash of every
frame since `start`. A decoded picture holds what its frame was made from, as `pictures_from` says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.runtime.backends.step import BackendInfo, OnDevice, StepTimes
from vidtok_edge.runtime.manifest.graphs import GraphSpec, Placement, TensorSpec
from vidtok_edge.runtime.manifest.manifest import SCHEMA, Manifest
from vidtok_edge.runtime.manifest.model import ModelFacts, WeightsFacts
from vidtok_edge.runtime.streaming.framing import Framing

__all__ = [
    "CODEBOOK",
    "FakeStep",
    "fake_manifest",
    "frame_of",
    "picture_content",
    "pictures_from",
    "tokens_from",
]

SIZE = 8
LEVELS = (8, 8, 8, 8, 8)
CODEBOOK = 8**5


def fake_manifest(
    *,
    f: int = 4,
    causal: bool = True,
    version: Literal["1.0", "1.1"] = "1.1",
    chunk: int = 1,
    streams: int = 1,
    latent: Literal["fsq", "kl"] = "fsq",
) -> Manifest:
    """The manifest of a bundle that `FakeStep` can play."""
    b, n, fsq = streams, chunk, latent == "fsq"
    frames = TensorSpec("frames", "uint8", (b, n * f, SIZE, SIZE, 3))
    tokens = TensorSpec("tokens", "int32", (b, n, 1, 1))
    floats = [TensorSpec(name, "float32", (b, n, 1, 1, 1)) for name in ("mean", "logvar", "latent")]
    start = [TensorSpec("start", "bool", (b, 1))] if causal else []
    ready = [TensorSpec("ready", "bool", (b, 1))] if causal and b > 1 else []
    end = [TensorSpec("end", "bool", (b, n))] if causal and version == "1.1" else []
    cache = TensorSpec("cache_000", "int32", (b, 1))
    old, new = ([cache], [replace(cache, name="new_cache_000")]) if causal else ([], [])
    encoder = ([frames, *start, *ready, *old], [*([tokens] if fsq else floats[:2]), *new])
    decoder = ([tokens if fsq else floats[2], *start, *end, *ready, *old], [frames, *new])
    return Manifest(
        schema=SCHEMA,
        toolkit="0",
        model=ModelFacts(
            variant="fake",
            version=version,
            causal=causal,
            latent=latent,
            levels=LEVELS if fsq else (),
            z_channels=5 if fsq else 1,
            time_factor=f,
            space_factor=SIZE,
        ),
        promise="exact",
        height=SIZE,
        width=SIZE,
        streams=b,
        chunk=n,
        io="uint8",
        weights=WeightsFacts("random", "", ""),
        verified=True,
        graphs=(_graph("encoder", *encoder), _graph("decoder", *decoder)),
    )


def _graph(
    kind: Literal["encoder", "decoder"], inputs: list[TensorSpec], outputs: list[TensorSpec]
) -> GraphSpec:
    file = f"{kind}.fp32.onnx"
    return GraphSpec(
        kind=kind,
        precision="fp32",
        placement=Placement.ANY,
        form="conv2d",
        opset=20,
        file=file,
        sha256="",
        data_file=file + ".data",
        data_sha256="",
        inputs=tuple(inputs),
        outputs=tuple(outputs),
    )


def frame_of(value: int) -> NDArray[np.uint8]:
    """The picture of `value`, below 65,536."""
    picture = np.zeros((SIZE, SIZE, 3), np.uint8)
    picture[..., 0], picture[..., 1] = value % 256, value // 256
    return picture


def _value_of(frame: NDArray[np.uint8]) -> int:
    return int(frame[0, 0, 0]) + 256 * int(frame[0, 0, 1])


def _hash(state: int, value: int) -> int:
    return (31 * state + value + 1) % CODEBOOK


def tokens_from(values: Sequence[int], manifest: Manifest) -> list[int]:
    """What a stream of these frames must give, by docs/streaming.md, section 2, alone."""
    f = manifest.model.time_factor
    window = f if manifest.model.causal else f * manifest.chunk
    fed = list(values)
    if manifest.model.causal:
        fed = fed[:1] * (f - 1) + fed
    fed += fed[-1:] * (-len(fed) % window)
    tokens, state = [], 0
    for i, value in enumerate(fed):
        if not manifest.model.causal and i % window == 0:
            state = 0
        state = _hash(state, value)
        if i % f == f - 1:
            tokens.append(state)
    return tokens


def pictures_from(tokens: Sequence[int], frames: int, manifest: Manifest) -> list[tuple[int, int]]:
    """What each of a stream's frames must hold: (its latent's token, token it looked ahead to).

    A delayed decoder looks ahead for the first f - 1 outputs of each call's latent: to the next
    latent, or, after `end`, to none (0).
    """
    framing, f = Framing.of(manifest.model), manifest.model.time_factor
    pictures = []
    for frame in range(frames):
        latent = framing.latents(frame + 1) - 1
        ahead = 0
        if framing.delayed and frame > 0:
            by, place = divmod(frame + 2 * f - 2, f)
            if place < f - 1:
                ahead = tokens[by] if by < len(tokens) else 0
        pictures.append((tokens[latent], ahead))
    return pictures


def picture_content(pixels: NDArray[np.uint8]) -> tuple[int, int]:
    """The two tokens that a decoded picture holds."""
    a, b = (int(pixels[0, i, 0]) + 256 * int(pixels[0, i, 1]) for i in range(2))
    return a, b


@dataclass
class FakeStep:
    """A `runtime.backend.Step` in numpy.

    Attributes:
        ends: (slot, which latent of its stream) of each `end` that a call was given.
        runs: the slots that took part in each call.
        fail_after: the call that raises; never where None.
        before_run: called at the beginning of each call.
    """

    manifest: Manifest
    kind: Literal["encoder", "decoder"]
    fail_after: int | None = None
    ends: list[tuple[int, int]] = field(default_factory=list)
    runs: list[list[int]] = field(default_factory=list)
    before_run: Callable[[], object] = lambda: None
    closed: int = 0

    def __post_init__(self) -> None:
        self.graph = self.manifest.graph(self.kind)
        self.info = BackendInfo("fake", "fake", "numpy", "")
        self.times = StepTimes(0, 0, 0)
        self.device: OnDevice | None = None
        self.inputs: Mapping[str, NDArray[Any]] = _buffers(self.graph.host_inputs)
        self.outputs: Mapping[str, NDArray[Any]] = _buffers(self.graph.host_outputs)
        self._hashes = [-1] * self.manifest.streams  # as if uninitialised: read only after start
        self._seen: list[list[int]] = [[] for _ in range(self.manifest.streams)]

    def run(self) -> None:
        assert not self.closed, "run after close"
        self.before_run()
        if self.fail_after is not None and len(self.runs) >= self.fail_after:
            raise RuntimeError("the device was lost")
        slots = [i for i in range(self.manifest.streams) if self._flag("ready", i, True)]
        self.runs.append(slots)
        for name, output in self.outputs.items():
            output[...] = 99 if name == "frames" else CODEBOOK - 1  # what an idle slot holds
        for slot in slots:
            (self._encode if self.kind == "encoder" else self._decode)(slot)

    def _flag(self, name: str, slot: int, absent: bool) -> bool:
        return bool(self.inputs[name][slot, 0]) if name in self.inputs else absent

    def _encode(self, slot: int) -> None:
        f = self.manifest.model.time_factor
        state = 0 if self._flag("start", slot, True) else self._hashes[slot]
        for i, frame in enumerate(self.inputs["frames"][slot]):
            state = _hash(state, _value_of(frame))
            if i % f < f - 1:
                continue
            if "tokens" in self.outputs:
                self.outputs["tokens"][slot, i // f] = state
            else:
                self.outputs["mean"][slot, i // f] = state
                self.outputs["logvar"][slot, i // f] = -state
        self._hashes[slot] = state

    def _decode(self, slot: int) -> None:
        f, framing = self.manifest.model.time_factor, Framing.of(self.manifest.model)
        if self._flag("start", slot, True):
            self._seen[slot] = []
        seen = self._seen[slot]
        for n, value in enumerate(self.inputs.get("tokens", self.inputs.get("latent"))[slot]):  # type: ignore[index]
            end = "end" in self.inputs and bool(self.inputs["end"][slot, n])
            if end:
                self.ends.append((slot, len(seen)))
            seen.append(int(value.item()))
            for place in range(f):
                raw = (len(seen) - 1) * f + place
                frame = framing.frame_of_output(raw)
                latent = 0 if frame is None else framing.latents(frame + 1) - 1
                looks = framing.delayed and place < f - 1 and not end
                content = (seen[latent], seen[-1] if looks else 0)
                pixels = self.outputs["frames"][slot, n * f + place]
                for i, token in enumerate(content):
                    pixels[0, i] = token % 256, token // 256, 0

    def caches(self) -> dict[str, NDArray[Any]]:
        raise NotImplementedError

    def set_caches(self, values: Mapping[str, NDArray[Any]]) -> None:
        raise NotImplementedError

    def close(self) -> None:
        self.closed += 1
        self.inputs, self.outputs = {}, {}  # as an engine's, whose memory goes with the step

    def __enter__(self) -> FakeStep:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _buffers(specs: Iterable[TensorSpec]) -> dict[str, NDArray[Any]]:
    return {spec.name: np.zeros(spec.shape, spec.dtype) for spec in specs}
