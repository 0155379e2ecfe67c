"""A bundle on disk: loaded, validated, and the place to get encoders and decoders from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vidtok_edge.errors import (
    BundleFileChanged,
    BundleFileMissing,
    BundleMissing,
    BundlePathEscapes,
)
from vidtok_edge.runtime.backend import Step, open_step
from vidtok_edge.runtime.decoder import StreamDecoder
from vidtok_edge.runtime.encoder import StreamEncoder
from vidtok_edge.runtime.manifest import GraphSpec, Manifest

__all__ = ["MANIFEST", "Bundle", "sha256_of"]

MANIFEST = "manifest.json"


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Bundle:
    """A validated bundle.

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
            check_hashes: also read every file and compare its SHA-256 (seconds for a full-width model).

        Raises:
            BundleMissing, BundleSchemaUnknown, BundlePathEscapes, BundleFileMissing, BundleFileChanged,
            BundleError: each for what it says.
        """
        folder = Path(path)
        try:
            text = (folder / MANIFEST).read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            what = f"has no {MANIFEST}" if folder.is_dir() else "is not a folder"
            raise BundleMissing(
                f"{folder} {what}. Write a bundle with: vidtok-export --variant fsq --output {folder}"
            ) from None
        except UnicodeDecodeError:
            raise BundleMissing(f"{folder / MANIFEST} is not text. Export the bundle again.") from None
        bundle = cls(folder, Manifest.from_json(text))
        for graph in bundle.manifest.graphs:
            bundle._check_files(graph, check_hashes)
        return bundle

    def encoder(self, backend: str = "auto", *, precision: str | None = None) -> StreamEncoder:
        """A streaming encoder; `backend` as `vidtok_edge.runtime.backend.BACKENDS`, or `auto`."""
        return StreamEncoder(self.manifest, self._open("encoder", backend, precision))

    def decoder(self, backend: str = "auto", *, precision: str | None = None) -> StreamDecoder:
        """A streaming decoder; arguments as `encoder`."""
        return StreamDecoder(self.manifest, self._open("decoder", backend, precision))

    def _open(
        self, kind: Literal["encoder", "decoder"], backend: str, precision: str | None
    ) -> Step:
        graph = self.manifest.graph(kind, precision)
        return open_step(graph, self.path / graph.file, backend)

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
            if check_hashes and (found := sha256_of(file)) != expected:
                raise BundleFileChanged(
                    f"{file} has SHA-256 {found[:12]}…, the manifest says {expected[:12]}…: the file "
                    "was changed or copied badly. Copy or export the bundle again."
                )
