"""What is compared: a bundle on a backend in a precision, or PyTorch doing the same work."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from vidtok_edge.errors import BundleError, UsageError
from vidtok_edge.runtime.backends.backend import Backend
from vidtok_edge.runtime.backends.gpu import Gpu, present_gpu
from vidtok_edge.runtime.bundle import FORMS, Bundle
from vidtok_edge.runtime.manifest.graphs import GraphSpec, Placement
from vidtok_edge.runtime.manifest.manifest import Manifest
from vidtok_edge.runtime.streaming.decoder import StreamDecoder
from vidtok_edge.runtime.streaming.encoder import StreamEncoder

__all__ = ["OPEN_BUNDLE", "Candidate", "Opener", "candidates_of", "open_bundle"]

OPEN_BUNDLE = "vidtok_edge.runtime.bench.measuring.candidate:open_bundle"


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
    checkpoint: str | None = None
    """The file that the bundle's weights came from, where the opener needs it."""
    compile_mode: str = ""
    """Of torch.compile; empty where nothing is compiled, or nobody chose."""

    def __str__(self) -> str:
        mode = f" {self.compile_mode}" if self.compile_mode else ""
        threads = f" {self.threads} thread(s)" if self.threads else ""
        return f"{self.bundle_name} {self.backend}{mode} {self.precision}{threads}"

    @property
    def bundle_name(self) -> str:
        """Of its folder; another form inside a bundle is called after both: `vidtok-fsq/conv3d`."""
        folder = Path(self.bundle)
        inside = folder.parent.name == FORMS
        return f"{folder.parent.parent.name}/{folder.name}" if inside else folder.name

    def open(
        self, bundle: Bundle, decode: bool = False
    ) -> tuple[StreamEncoder, StreamDecoder | None]:
        """Fresh streams."""
        module, _, function = self.opener.partition(":")
        opener = cast(Opener, getattr(importlib.import_module(module), function))
        return opener(bundle, self, decode)

    def graph(
        self, manifest: Manifest, gpu_of: Callable[[], Gpu | None] = present_gpu
    ) -> GraphSpec:
        """The encoder that it runs, as the manifest describes it; BundleError where there is none.

        `auto` may take TensorRT's own where there is a GPU, of which `gpu_of` knows.
        """
        if self.opener != OPEN_BUNDLE:  # PyTorch has the arithmetic of the first graph
            return manifest.graph("encoder", self.precision)
        backend = Backend.named(self.backend)
        if backend.placement is Placement.TENSORRT:
            return manifest.graph("encoder", self.precision, backend.placement)
        try:
            return manifest.graph("encoder", self.precision)
        except BundleError:
            if backend is not Backend.AUTO or gpu_of() is None:
                raise
            return manifest.graph("encoder", self.precision, Placement.TENSORRT)

    def has_graph(self, manifest: Manifest, gpu_of: Callable[[], Gpu | None] = present_gpu) -> bool:
        """Whether there is such an encoder."""
        try:
            return bool(self.graph(manifest, gpu_of))
        except BundleError:
            return False


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
    backends: Sequence[str] = (Backend.AUTO,),
    precisions: Sequence[str] = (),
    threads: int | None = None,
    left_out: Callable[[Candidate], None] = lambda candidate: None,
    gpu_of: Callable[[], Gpu | None] = present_gpu,
) -> list[Candidate]:
    """Every bundle on every backend in every precision, the first being what others are held to.

    Args:
        bundles: folders.
        backends: names of `Backend`.
        precisions: where there are none, all that a bundle has for a backend.
        left_out: is told which of those a bundle has, but not for this backend.
        gpu_of: tells this machine's GPU, for which `auto` may take an engine.

    Raises:
        UsageError: no backend of that name, or two folders of one name.
        BundleError: a bundle that cannot be read, or lacks a precision for a backend.
    """
    for name in backends:
        Backend.named(name)
    folders = [Path(os.path.abspath(path)) for path in bundles]  # a link keeps its own name
    names = [Candidate(str(folder), "", "").bundle_name for folder in folders]
    if len(set(names)) < len(names):
        raise UsageError(
            f"Two bundles are called {max(names, key=names.count)}: they could not be told apart "
            "in the results. Rename one, or name it once."
        )
    found = []
    for folder in folders:
        manifest = Bundle.load(folder).manifest
        for backend in backends:
            wanted = [
                Candidate(str(folder), backend, precision, threads)
                for precision in precisions or manifest.precisions
            ]
            there = [candidate for candidate in wanted if candidate.has_graph(manifest, gpu_of)]
            missing = [candidate for candidate in wanted if candidate not in there]
            for candidate in missing:
                if precisions or not there:
                    candidate.graph(manifest, gpu_of)  # which says what there is instead
                left_out(candidate)
            found += there
    return found
