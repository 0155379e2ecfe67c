"""The golden stream of a bundle: what the reference made of it, small enough to travel along.

`golden/golden.json` says what it is and what each precision gave on ONNX Runtime, and
`golden/golden.npz` has the arrays. The frames are not stored: `scenes` makes them.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.bounded import TooLarge, opened_zip, read_at_most
from vidtok_edge.errors import GoldenStreamError
from vidtok_edge.hashes import sha256_of_parts
from vidtok_edge.runtime.files import write_beside
from vidtok_edge.runtime.manifest.documents import DocumentKind, write_document
from vidtok_edge.runtime.manifest.graphs import GraphSpec, Placement, Precision
from vidtok_edge.runtime.manifest.manifest import Manifest
from vidtok_edge.runtime.manifest.plain import to_plain
from vidtok_edge.runtime.npz import array_of, damage_told, write_arrays
from vidtok_edge.runtime.proving.scenes import RECIPE, SAMPLES, as_input, golden_frame
from vidtok_edge.runtime.streaming.framing import Framing

__all__ = [
    "ARRAYS",
    "FACTS",
    "SCHEMA",
    "Given",
    "GoldenFacts",
    "GoldenStream",
    "golden_frames",
    "margin_bytes",
]

SCHEMA = 1
FACTS = "golden/golden.json"
ARRAYS = "golden/golden.npz"
_DOCUMENT = DocumentKind(
    schema=SCHEMA,
    largest=1 << 20,  # a real one has about 30,000
    too_large="it has more than {mib} MiB",
    no_object="it is no object",
    other_schema="its schema is {found}, and this toolkit reads {schema}",
)
_LARGEST = 1 << 24  # bytes of the arrays; those of the embedded model at 256x256 have 200,000
_MOST = 10_000  # frames and latents
_MARGIN_UNITS = 510  # of a margin as a byte: half a level is 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What the graphs of one precision gave on ONNX Runtime when the bundle was exported."""

    precision: Precision
    placement: Placement
    library: str
    """As `onnxruntime 1.31.1`."""
    encoder: tuple[float, ...]
    """Of each of the first latents the share of tokens that are the reference's; KL: dB of the mean
    over its error."""
    decoder: tuple[float, ...]
    """Of each of the first pictures the PSNR against the reference's, dB of the sampled pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenFacts:
    """What a golden stream is of. Frames, latents and pictures are numbered from 0."""

    schema: int
    toolkit: str
    recipe: str
    reference: str
    """What computed the tokens and pictures."""
    variant: str
    weights_sha256: str
    height: int
    width: int
    io: str
    frames: int
    """That go into the encoder; they end with a tail where f is more than 1."""
    cut_frame: int
    """The first of the second scene."""
    latents: int
    """That the encoder makes of them."""
    cut_latent: int
    """The one that `cut_frame` is part of."""
    decoder_latents: int
    """That go into the decoder: those of the encoder, again and again."""
    encoder_reach: int | None
    """In latents (`reach_in_latents`); None where nothing is carried, or nobody knows."""
    decoder_reach: int | None
    frames_sha256: str
    """Of all frames, one after another."""
    arrays_sha256: str
    """Of the file with the arrays."""
    pictures_sha256: tuple[str, ...]
    """Of each picture that the reference decoded."""
    given: tuple[Given, ...]

    def __post_init__(self) -> None:
        counts = (self.frames, self.latents, self.decoder_latents)
        if not all(1 <= count <= _MOST for count in counts):
            raise ValueError(f"frames and latents: expected 1 to {_MOST}, got {counts}")
        if not (0 < self.cut_frame < self.frames and 0 < self.cut_latent < self.latents):
            raise ValueError(f"the cut, at frame {self.cut_frame}, lies outside of the stream")
        for given in self.given:
            known, there = (len(given.encoder), len(given.decoder)), len(self.pictures_sha256)
            if not (1 <= known[0] <= self.latents and 1 <= known[1] <= there):
                raise ValueError(f"given, {given.precision}: got {known} figures")

    def covered(self, kind: str) -> str:
        """How much of the reach of `kind` is streamed, in words."""
        reach, there = (
            (self.encoder_reach, self.latents)
            if kind == "encoder"
            else (self.decoder_reach, self.decoder_latents)
        )
        if reach is None:
            return f"{there} latents"
        whole = "all of" if there > reach else f"{there} of the {reach + 1} latents of"
        return f"{there} latents, {whole} its reach"

    def phase_of(self, latent: int, latents: int) -> str:
        """What a stream of `latents` latents does at one of them, in words."""
        if latent == 0:
            return "start"
        if latent == latents - 1:
            return "tail"
        return "steady state" if latent < self.cut_latent else "after the cut"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class GoldenStream:
    """A golden stream, loaded or just made."""

    facts: GoldenFacts
    latents: NDArray[Any]
    """int32 tokens [t, h, w], or the mean float32 [t, z, h, w], rounded to float16."""
    margin: NDArray[np.uint8] | None
    """[t, h, w], how far the reference was from another token: 255 is half a level. KL: None."""
    samples: NDArray[np.uint8]
    """[T, 256, 3]: of each picture that the decoder makes, the sampled pixels."""

    def frames(self) -> Iterator[NDArray[Any]]:
        """What goes into the encoder, one [H, W, 3] after another, as the bundle takes frames."""
        return golden_frames(self.facts)

    def decoder_values(self) -> Iterator[NDArray[Any]]:
        """What goes into the decoder, one latent [h, w] or [z, h, w] after another."""
        for number in range(self.facts.decoder_latents):
            yield self.latents[number % len(self.latents)]

    def levels_from_boundary(self) -> NDArray[np.float64] | None:
        """[t, h, w], `margin` in levels, at least as large as it was; KL: None."""
        return None if self.margin is None else self.margin / np.float64(_MARGIN_UNITS)

    def given(self, graph: GraphSpec) -> Given | None:
        """What the graph, or one of its precision, gave at the export."""
        of_precision = [g for g in self.facts.given if g.precision == graph.precision]
        exactly = [g for g in of_precision if g.placement == graph.placement]
        return next(iter(exactly or of_precision), None)

    def save(self, folder: Path) -> None:
        """Write both files into the bundle in `folder`, replacing those of before.

        Raises OutputNotWritable.
        """
        (folder / ARRAYS).parent.mkdir(exist_ok=True)
        with write_beside(folder / ARRAYS, force=True) as temporary:
            temporary.write_bytes(self.packed())
        write_document(folder / FACTS, to_plain(self.facts))

    def packed(self) -> bytes:
        """The file with the arrays."""
        arrays: dict[str, NDArray[Any]] = {"samples": self.samples}
        if self.margin is None:
            arrays["latents"] = self.latents.astype(np.float16)
        else:
            small = int(self.latents.max()) < 1 << 16
            arrays["latents"] = self.latents.astype(np.uint16 if small else np.uint32)
            arrays["margin"] = self.margin
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
            write_arrays(archive, arrays)
        return made.getvalue()

    @classmethod
    def load(cls, folder: Path, manifest: Manifest) -> GoldenStream:
        """That of the bundle in `folder`, whose manifest is `manifest`.

        Raises GoldenStreamError: there is none, it is damaged, of another bundle or another recipe.
        """
        again = "Export the bundle again."
        if not (folder / FACTS).is_file():
            raise GoldenStreamError(
                f"{folder} has no golden stream ({FACTS}): it was exported before there were any, "
                f"or copied in part. {again}"
            )
        try:
            facts = _DOCUMENT.load(GoldenFacts, folder / FACTS)
            if others := _others(facts, manifest):
                raise ValueError(f"it is of another bundle: {'; '.join(others)} differ")
            if facts.recipe != RECIPE:
                raise ValueError(f"its frames are of {facts.recipe[:40]!r}, not of {RECIPE!r}")
            return _read(facts, folder / ARRAYS, manifest)
        except PermissionError as error:
            raise GoldenStreamError(
                f"The golden stream of {folder} cannot be read: {error.strerror}. Check its "
                "permissions."
            ) from None
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise GoldenStreamError(
                f"The golden stream of {folder} cannot be used: {error}. {again}"
            ) from None


def golden_frames(facts: GoldenFacts) -> Iterator[NDArray[Any]]:
    """The frames of a golden stream that has these facts; see `GoldenStream.frames`."""
    for number in range(facts.frames):
        pixels = golden_frame(number, facts.height, facts.width, cut=facts.cut_frame)
        yield as_input(pixels, facts.io)


def margin_bytes(margin: NDArray[Any]) -> NDArray[np.uint8]:
    """Distances to a boundary in levels, 0 to 0.5, as `GoldenStream.margin`; rounded up."""
    units: NDArray[np.uint8] = np.ceil(np.clip(margin, 0, 0.5) * _MARGIN_UNITS).astype(np.uint8)
    return units


def _others(facts: GoldenFacts, manifest: Manifest) -> list[str]:
    here = {
        "variant": manifest.model.variant,
        "weights_sha256": manifest.weights.sha256,
        "height": manifest.height,
        "width": manifest.width,
        "io": manifest.io,
    }
    return [name for name, value in here.items() if getattr(facts, name) != value]


def _read(facts: GoldenFacts, path: Path, manifest: Manifest) -> GoldenStream:
    try:
        content = read_at_most(path, _LARGEST)
    except TooLarge:
        raise ValueError(f"{path.name} has more than {_LARGEST >> 20} MiB") from None
    if (found := sha256_of_parts([content])) != facts.arrays_sha256:
        raise ValueError(
            f"{path.name} has SHA-256 {found[:12]}…, {Path(FACTS).name} says "
            f"{facts.arrays_sha256[:12]}…"
        )
    fsq = manifest.model.latent == "fsq"
    pictures = len(facts.pictures_sha256)
    if pictures != Framing.of(manifest.model).first_frame(facts.decoder_latents):
        raise ValueError(f"{pictures} pictures are not those of {facts.decoder_latents} latents")
    shape = (facts.latents, *manifest.model.shape(manifest.grid))
    wanted = {
        "latents": (shape, ("uint16", "uint32") if fsq else ("float16",)),
        "margin": (shape, ("uint8",)),
        "samples": ((pictures, SAMPLES, 3), ("uint8",)),
    }

    def judge(name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        if shape != wanted[name][0] or dtype.name not in wanted[name][1]:
            raise ValueError(f"{name} is {dtype} {list(shape)}, expected {list(wanted[name][0])}")

    with opened_zip(io.BytesIO(content)) as archive, damage_told():
        latents = array_of(archive, "latents", judge)
        margin = array_of(archive, "margin", judge) if fsq else None
        samples = array_of(archive, "samples", judge)
    if fsq and int(latents.max()) >= manifest.model.codebook_size:
        raise ValueError(f"tokens up to {latents.max()}; there are {manifest.model.codebook_size}")
    return GoldenStream(
        facts=facts,
        latents=latents.astype(np.int32 if fsq else np.float32),
        margin=margin,
        samples=samples,
    )
