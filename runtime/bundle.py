"""A bundle on disk: loaded, validated, and the place to get encoders and decoders from."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from vidtok_edge.errors import (
    BundleError,
    BundleFileChanged,
    BundleFileMissing,
    BundleGraphRefused,
    BundleMismatch,
    BundleMissing,
    BundlePathEscapes,
    EngineMissing,
    UsageError,
)
from vidtok_edge.runtime.backends.arrays import Place
from vidtok_edge.runtime.backends.backend import Backend
from vidtok_edge.runtime.backends.choosing import open_fastest, open_step
from vidtok_edge.runtime.backends.gpu import present_gpu
from vidtok_edge.runtime.backends.step import Step
from vidtok_edge.runtime.known_hashes import known_sha256_of
from vidtok_edge.runtime.manifest.graph_file import check_graph_file
from vidtok_edge.runtime.manifest.graphs import GraphSpec, Kind, Placement
from vidtok_edge.runtime.manifest.manifest import DOCUMENT, Manifest
from vidtok_edge.runtime.streaming.decoder import StreamDecoder
from vidtok_edge.runtime.streaming.encoder import StreamEncoder

if TYPE_CHECKING:
    from vidtok_edge.runtime.proofs import Proven

__all__ = ["FORMS", "MANIFEST", "Bundle"]

MANIFEST = "manifest.json"
FORMS = "forms"
"""Folder of a bundle with the same graphs in other forms, each a bundle of its own; for engines."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A validated bundle.

    For example::

        bundle = Bundle.load("vidtok-fsq")
        with bundle.encoder() as encoder:
            for latents in encoder.push(frame): ...
    """

    path: Path
    manifest: Manifest

    @classmethod
    def load(cls, path: str | Path, *, check_hashes: bool = False) -> Bundle:
        """Read and validate the bundle in the folder `path`.

        Args:
            path: the folder that `vidtok-export` wrote.
            check_hashes: also compare the SHA-256 of every file; a large one that was hashed
                before and has not changed since is not read again.

        Raises:
            BundleMissing, BundleSchemaUnknown, BundlePathEscapes, BundleFileMissing,
            BundleFileChanged, BundleGraphRefused, BundleError: each for what it says.
        """
        folder = Path(path)
        bundle = cls(folder, Manifest.from_json(_manifest_text(folder)))
        for graph in bundle.manifest.graphs:
            try:
                bundle._check_files(graph, check_hashes)
            except (OSError, RuntimeError) as error:  # Runtime: a loop of links, before 3.13
                raise _unreadable(folder, error) from None
        return bundle

    @property
    def verified(self) -> bool:
        """Whether the export compared this bundle with the reference and found no failure."""
        return self.manifest.verified

    def encoder(
        self,
        backend: str = "auto",
        *,
        precision: str | None = None,
        threads: int | None = None,
        tokens_on: Place = "host",
        depth: int = 1,
        memory: str | None = None,
    ) -> StreamEncoder:
        """A streaming encoder.

        Args:
            backend: the name of a `vidtok_edge.runtime.backends.backend.Backend`.
            precision: of the graph; the bundle's first where None.
            threads: CPU threads of one call; ONNX Runtime's choice where None.
            tokens_on: `device`: latents stay where the step leaves them, without a copy, and are
                valid until the next call, which waits for work in CUDA's default stream alone:
                `torch.from_dlpack(latents.tokens)`.
            depth: 2: a call runs in a thread while the next chunk is filled, and its latents come
                with a later `push`, with `run_pending` or with `finish`. For frames of the host.
            memory: of an engine, where frames and tokens lie: `device`, `mapped` or `managed`
                (docs/device_frames.md); what `build` chose where None.

        Raises:
            UsageError: `tokens_on`, `depth` or `memory` is something else, or the first two do not
                go together, or `memory` is given and no engine runs.
            BackendUnavailable: the GPU cannot serve that memory.
        """
        if tokens_on not in get_args(Place):
            raise UsageError(f"tokens_on is {tokens_on!r}; use {' or '.join(get_args(Place))}.")
        _check_depth(depth)
        if depth > 1 and tokens_on == "device":
            raise UsageError(
                "With a depth of 2 the next call writes where tokens of this one are. Leave out "
                "depth, or tokens_on."
            )
        step = self.step(
            "encoder", backend, precision, threads, outputs_on=tokens_on, memory=memory
        )
        encoder = StreamEncoder(self.manifest, step, tokens_on, depth)
        encoder.find_proof = lambda: self._proven(step)
        return encoder

    def decoder(
        self,
        backend: str = "auto",
        *,
        precision: str | None = None,
        threads: int | None = None,
        depth: int = 1,
        memory: str | None = None,
    ) -> StreamDecoder:
        """A streaming decoder; arguments as `encoder`."""
        _check_depth(depth)
        step = self.step("decoder", backend, precision, threads, memory=memory)
        decoder = StreamDecoder(self.manifest, step, depth)
        decoder.find_proof = lambda: self._proven(step)
        return decoder

    def step(
        self,
        kind: Kind,
        backend: str = "auto",
        precision: str | None = None,
        threads: int | None = None,
        to_compare: bool = False,
        outputs_on: Place = "host",
        memory: str | None = None,
    ) -> Step:
        """A bare step, as `encoder` and `decoder` use; arguments as theirs and `open_step`'s.

        An engine may have been built of this bundle's graph or of the same graph in another form.
        """
        asked = Backend.named(backend)
        if asked is Backend.AUTO:
            step = open_fastest(
                lambda name: self.step(
                    kind, name, precision, threads, to_compare, outputs_on, memory
                )
            )
            others = self._engine_precisions(kind) if precision is None else ()
            if others and Backend(step.info.active).target is None:
                why = f"there are engines in {', '.join(others)}; ask for that precision"
                said = [step.info.fell_back] if step.info.fell_back else []
                step.info = replace(step.info, fell_back="; ".join([*said, why]))
            return step

        def opened(bundle: Bundle, placement: Placement) -> Step:
            return open_step(
                bundle.path,
                bundle.manifest.graph(kind, precision, placement),
                asked,
                threads=threads,
                to_compare=to_compare,
                outputs_on=outputs_on,
                memory=memory,
            )

        if asked.target is None:
            return opened(self, asked.placement)
        missing = []
        for bundle in (self, *self.other_forms()):
            try:
                return opened(bundle, Placement.TENSORRT)
            except EngineMissing as error:
                missing.append(error)
        raise missing[0]

    def other_forms(self, *, check_hashes: bool = False) -> list[Bundle]:
        """The same model in other forms, where it was exported in several; errors as `load`."""
        forms = []
        for folder in sorted((self.path / FORMS).glob("*")):
            if not folder.resolve().is_relative_to(self.path.resolve()):
                raise BundlePathEscapes(
                    f"{folder} is a link out of the bundle. Copy the folder itself into the bundle."
                )
            form = Bundle.load(folder, check_hashes=check_hashes)
            if form._identity != self._identity:
                raise BundleMismatch(
                    f"{folder} is of another model or size than {self.path}. Copy the whole bundle "
                    "again, or export it again."
                )
            forms.append(form)
        return forms

    def folder_of(self, graph: GraphSpec) -> Path:
        """Where the files of `graph` lie, one of this bundle or of another form of it."""
        if graph in self.manifest.graphs:
            return self.path
        return next(form.path for form in self.other_forms() if graph in form.manifest.graphs)

    def _proven(self, step: Step) -> Proven:
        from vidtok_edge.runtime.proofs import proven

        return proven(self.path, self.folder_of(step.graph), step.graph, step.info)

    def _engine_precisions(self, kind: Kind) -> tuple[str, ...]:
        """Those in which engines for this GPU lie here, fitting or not, but for the first one's."""
        gpu = present_gpu()
        if gpu is None:
            return ()
        files = f"engines/{kind}.*.{gpu.architecture}.engine"  # as `engines.sidecar.engine_file`
        found = [*self.path.glob(files), *self.path.glob(f"{FORMS}/*/{files}")]
        precisions = {path.name.split(".")[1] for path in found}
        return tuple(sorted(precisions - {self.manifest.graph(kind).precision}))

    @property
    def _identity(self) -> tuple[object, ...]:
        """What the same model in another form has in common."""
        m = self.manifest
        sizes = (m.height, m.width, m.streams, m.chunk, m.io)
        return (m.model, m.weights.sha256, sizes, m.precisions)

    def _check_files(self, graph: GraphSpec, check_hashes: bool) -> None:
        root = self.path.resolve()
        for name, expected in ((graph.file, graph.sha256), (graph.data_file, graph.data_sha256)):
            file = self.path / name
            if not file.resolve().is_relative_to(root):
                raise BundlePathEscapes(
                    f"{file} is a link out of the bundle. Copy the file itself into the bundle."
                )
            if not file.is_file():
                raise BundleFileMissing(
                    f"{file} is missing: the manifest names it. Copy the whole bundle again."
                )
            if check_hashes and (found := known_sha256_of(file)) != expected:
                raise BundleFileChanged(
                    f"{file} has SHA-256 {found[:12]}…, the manifest says {expected[:12]}…: the "
                    "file was changed or copied badly. Copy or export the bundle again."
                )
        file = self.path / graph.file
        try:
            check_graph_file(file, graph.data_file)
        except ValueError as error:
            raise BundleGraphRefused(
                f"{file} {error}: vidtok-export writes no such graph, and it is not run. Export "
                "the bundle again, or ask where it is from."
            ) from None


def _check_depth(depth: int) -> None:
    if depth not in (1, 2):
        raise UsageError(f"depth is {depth}; use 1, or 2 for a call beside the next chunk.")


def _manifest_text(folder: Path) -> str:
    file = folder / MANIFEST
    try:
        if not file.is_file():
            what = f"has no {MANIFEST}" if folder.is_dir() else "is not a folder"
            raise BundleMissing(
                f"{folder} {what}. Write a bundle with: "
                f"vidtok-export --variant fsq --output {shlex.quote(str(folder))}"
            )
        return DOCUMENT.text(file)
    except OSError as error:
        raise _unreadable(file, error) from None
    except ValueError as error:
        raise BundleError(f"{file} {error}. Export the bundle again.") from None


def _unreadable(path: Path, error: Exception) -> BundleError:
    why = getattr(error, "strerror", None) or error
    return BundleError(
        f"{path} cannot be read: {why}. Check its permissions, or copy the bundle again."
    )
