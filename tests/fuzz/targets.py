"""Every reader of files that others made, with a sound file for it."""

from __future__ import annotations

import json
import os
import shutil
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np

from fuzz.bundles import bundle_targets
from fuzz.calibrations import calibration_targets
from fuzz.checkpoints import checkpoint_targets
from fuzz.mutations import of_text, of_zip
from fuzz.pictures import picture_targets
from fuzz.recordings import recording_targets
from fuzz.sets import set_targets
from fuzz.target import HERE, Target

__all__ = ["TARGETS", "Target"]


def _copy(name: str, folder: Path) -> Path:
    return Path(shutil.copy(HERE / name, folder))


def _npy(folder: Path) -> Path:
    path = folder / "tokens.npy"
    np.save(path, np.arange(24, dtype=np.int32).reshape(2, 3, 4))
    return path


def _tokens(path: Path) -> None:
    from vidtok_edge.runtime.clips.token_files import TokenFile

    TokenFile.load(path)


def _document(folder: Path) -> Path:
    from vidtok_edge.runtime.bench.document_file import write_document
    from vidtok_edge.runtime.bench.measuring.candidate import Candidate
    from vidtok_edge.runtime.bench.measuring.documents import document_of
    from vidtok_edge.runtime.bench.measuring.matrix import run_matrix
    from vidtok_edge.runtime.bench.measuring.turn import Turn, run_turn
    from vidtok_edge.runtime.bench.settings import Pace, Settings

    def run(candidate: Candidate, settings: Settings, progress: object) -> Turn:
        return run_turn(candidate, settings, 0)

    settings = Settings(Pace(200.0), seconds=0.1, warmup_s=0.0)
    candidates = [Candidate(str(HERE / "written_before/bundle"), "cpu", "fp32", 1)]
    path = folder / "bench.json"
    write_document(document_of(run_matrix(candidates, settings, run=run), pictures=False), path)
    return path


def _read_document(path: Path) -> None:
    from vidtok_edge.runtime.bench.document_file import read_document
    from vidtok_edge.runtime.bench.showing.page import page_of
    from vidtok_edge.runtime.bench.showing.tables import tables_of

    document = read_document(path)
    tables_of(document)
    page_of(document)


def _hashes(folder: Path) -> Path:
    path = folder / "vidtok-edge/hashes.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"1:2:3:4:5": "ab" * 32}))
    return path


def _read_hashes(path: Path) -> None:
    from vidtok_edge.runtime.remembered import Remembered

    with mock.patch.dict(os.environ, {"XDG_CACHE_HOME": str(path.parent.parent)}):
        Remembered("XDG_CACHE_HOME", ".cache", path.name).read()


def _targets() -> list[Target]:
    found = [
        Target(name="tokens.npy", make=_npy, read=_tokens),
        Target(name="hashes", make=_hashes, read=_read_hashes, mutation=of_text),
        Target(
            name="bench",
            make=_document,
            read=_read_document,
            mutation=of_text,
            needs=("onnxruntime", "PIL"),
        ),
    ]
    found += [
        Target(
            name=name, make=partial(_copy, f"written_before/{name}"), read=_tokens, mutation=of_zip
        )
        for name in ("tokens.npz", "kl.npz")
    ]
    for targets in (
        bundle_targets,
        calibration_targets,
        checkpoint_targets,
        picture_targets,
        recording_targets,
        set_targets,
    ):
        found += targets()
    return found


TARGETS = {target.name: target for target in _targets()}
