"""What is compared: a bundle on a backend in a precision, or PyTorch doing the same work."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, cast

from vidtok_edge.errors import UsageError
from vidtok_edge.runtime.backend import BACKENDS
from vidtok_edge.runtime.bundle import Bundle
from vidtok_edge.runtime.decoder import StreamDecoder
from vidtok_edge.runtime.encoder import StreamEncoder
from vidtok_edge.runtime.manifest import GraphSpec, Manifest

__all__ = ["OPEN_BUNDLE", "Candidate", "Opener", "candidates_of", "open_bundle"]

OPEN_BUNDLE = "vidtok_edge.runtime.bench.candidate:open_bundle"


class Opener(Protocol):
    """Opens the streams of a candidate: the encoder, and the decoder where `decode` says so."""

    def __call__(
        self, bundle: Bundle, candidate: Candidate, decode: bool
    ) -> tuple[StreamEncoder, StreamDecoder | None]: ...


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to run one bundle.

    `opener` is `module:function`, an `Opener`; by name, because each turn runs in a process of its
    own, and because the runtime may not import what opens PyTorch.
    """

    bundle: str
    backend: str
    precision: str
    threads: int | None = None
    opener: str = OPEN_BUNDLE

    def __str__(self) -> str:
        threads = f" {self.threads} thread(s)" if self.threads else ""
        return f"{Path(self.bundle).name} {self.backend} {self.precision}{threads}"

    def open(
        self, bundle: Bundle, decode: bool = False
    ) -> tuple[StreamEncoder, StreamDecoder | None]:
        """Fresh streams."""
        module, _, function = self.opener.partition(":")
        opener = cast(Opener, getattr(importlib.import_module(module), function))
        return opener(bundle, self, decode)

    def graph(self, manifest: Manifest) -> GraphSpec:
        """The encoder that it runs, as the manifest describes it; BundleError where there is none.

        `auto` may take TensorRT's own where there is an engine.
        """
        placement: Literal["onnxruntime", "tensorrt"] = (
            "tensorrt" if self.backend.startswith("tensorrt") else "onnxruntime"
        )
        return manifest.graph("encoder", self.precision, placement)


def open_bundle(
    bundle: Bundle, candidate: Candidate, decode: bool
) -> tuple[StreamEncoder, StreamDecoder | None]:
    """The `Opener` of the runtime's own backends."""
    backend, precision, threads = candidate.backend, candidate.precision, candidate.threads
    encoder = bundle.encoder(backend, precision=precision, threads=threads)
    if not decode:
        return encoder, None
    try:
        return encoder, bundle.decoder(backend, precision=precision, threads=threads)
    except BaseException:
        encoder.close()
        raise


def candidates_of(
    bundles: Sequence[Path],
    backends: Sequence[str] = ("auto",),
    precisions: Sequence[str] = (),
    threads: int | None = None,
) -> list[Candidate]:
    """Every bundle on every backend in every precision, the first being what others are held to.

    Args:
        bundles: folders.
        backends: of `vidtok_edge.runtime.backend.BACKENDS`, or `auto`.
        precisions: all that a bundle has where there are none.

    Raises:
        UsageError: no backend of that name, or two folders of one name.
        BundleError: a bundle that cannot be read, or lacks a precision for a backend.
    """
    if unknown := set(backends) - {"auto", *BACKENDS}:
        raise UsageError(
            f"There is no backend {sorted(unknown)[0]!r}; use auto, {', '.join(BACKENDS)}."
        )
    folders = [Path(os.path.abspath(path)) for path in bundles]  # a link keeps its own name
    names = [folder.name for folder in folders]
    if len(set(names)) < len(names):
        raise UsageError(
            f"Two bundles are called {max(names, key=names.count)}: they could not be told apart "
            "in the results. Rename one, or name it once."
        )
    found = []
    for folder in folders:
        manifest = Bundle.load(folder).manifest
        for backend in backends:
            for precision in precisions or manifest.precisions:
                candidate = Candidate(str(folder), backend, precision, threads)
                candidate.graph(manifest)
                found.append(candidate)
    return found
