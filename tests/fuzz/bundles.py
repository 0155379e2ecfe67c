"""Readers of what lies in a bundle: its manifest, graphs, engines, golden stream and proofs."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from fuzz.mutations import of_text, of_zip
from fuzz.target import HERE, Target

__all__ = ["bundle_targets"]

MOST_NPZ = 1 << 24


def bundle_targets() -> Sequence[Target]:
    """For what an export writes, and for what is put beside it later."""
    found = [
        Target(
            name="manifest",
            make=partial(_in_bundle, "manifest.json"),
            read=_bundle,
            mutation=of_text,
        ),
        Target(name="graph", make=partial(_in_bundle, "encoder.fp32.onnx"), read=_graph),
        Target(name="graph.int8", make=_int8_graph, read=_pair_sums, needs=("onnx",)),
        Target(name="graph.caches", make=_sliding_graph, read=_cache_copies, needs=("onnx",)),
        Target(name="sidecar", make=_sidecar, read=_read_sidecar, mutation=of_text),
        Target(name="parity", make=_report, read=_qualities, mutation=of_text),
        Target(name="timing", make=_timing, read=_read_timing),
    ]
    found += [
        Target(name=name, make=make, read=read, mutation=mutation, needs=("onnx", "onnxruntime"))
        for name, make, read, mutation in (
            ("golden.json", partial(_golden, "golden/golden.json"), _read_golden, of_text),
            ("golden.npz", partial(_golden, "golden/golden.npz"), _read_golden, of_zip),
            ("proof", _proof, _read_proof, of_text),
        )
    ]
    return found


def _in_bundle(name: str, folder: Path) -> Path:
    shutil.copytree(HERE / "written_before/bundle", folder, dirs_exist_ok=True)
    return folder / name


def _bundle(path: Path) -> None:
    from vidtok_edge.runtime.bundle import Bundle

    Bundle.load(path.parent, check_hashes=True)


def _graph(path: Path) -> None:
    """As from whoever made the manifest, too: its hashes say nothing."""
    from vidtok_edge.runtime.bundle import Bundle

    Bundle.load(path.parent)


def _int8_graph(folder: Path) -> Path:
    from int8_sums import convolution, save_beside

    path = folder / "graph.onnx"
    save_beside(convolution(np.ones((8, 8, 3, 3), np.int8)), path)
    return path


def _pair_sums(path: Path) -> None:
    from vidtok_edge.runtime.manifest.pair_sums import saturating_layers

    try:
        saturating_layers(path)
    except ValueError:
        return  # what it promises; ONNX Runtime refuses the file


def _sliding_graph(folder: Path) -> Path:
    import onnx
    from sliding import sliding_graph

    path = folder / "graph.onnx"
    onnx.save(sliding_graph(), path)
    return path


def _cache_copies(path: Path) -> None:
    from vidtok_edge.runtime.manifest.cache_copies import copied_caches

    try:
        copied_caches(path, [("cache_000", "new_cache_000")])
    except ValueError:
        return  # what it promises; ONNX Runtime refuses the file


def _report(folder: Path) -> Path:
    path = folder / "reports/parity.json"
    path.parent.mkdir()
    loss = {"graphs": "fp32", "clip": "robot", "tokens_equal": None, "source_psnr_db": 24.25}
    path.write_text(json.dumps({"losses": [{**loss, "source_ssim": 0.75, "loss_db": 0.0}]}))
    return path


def _qualities(path: Path) -> None:
    from vidtok_edge.runtime.bench.measuring.reports import qualities_of

    qualities_of(path.parent.parent)


def _sidecar(folder: Path) -> Path:
    from engine_sidecars import sidecar_of

    from vidtok_edge.runtime.backends.backend import Target as BackendTarget
    from vidtok_edge.runtime.backends.engines.sidecar import EngineHost
    from vidtok_edge.runtime.manifest.manifest import Manifest

    manifest = (HERE / "written_before/bundle/manifest.json").read_text("utf-8")
    host = EngineHost(target=BackendTarget.TENSORRT, version="10.3", gpu="sm87", gpu_name="Orin")
    path = folder / "engine.json"
    path.write_text(sidecar_of(Manifest.from_json(manifest).graphs[0], b"engine", host).to_json())
    return path


def _read_sidecar(path: Path) -> None:
    from vidtok_edge.runtime.backends.engines.sidecar import read_sidecar

    try:
        read_sidecar(path.with_suffix(".engine"))
    except ValueError:
        return  # what it promises; its callers name the engine


def _golden(name: str, folder: Path) -> Path:
    """Of the tiny bundle: its graphs are not looked at."""
    from tiny_bundle import write_tiny_bundle
    from tiny_golden import write_tiny_golden

    write_tiny_bundle(folder)
    write_tiny_golden(folder)
    return folder / name


def _read_golden(path: Path) -> None:
    from vidtok_edge.runtime.bundle import Bundle
    from vidtok_edge.runtime.proving.golden import GoldenStream

    folder, facts = path.parent.parent, path.with_suffix(".json")
    if path.suffix == ".npz" and path.stat().st_size < MOST_NPZ:  # as from whoever made the facts
        plain = json.loads(facts.read_text("utf-8"))
        plain["arrays_sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
        facts.write_text(json.dumps(plain), "utf-8")
    GoldenStream.load(folder, Bundle.load(folder).manifest)


def _proof(folder: Path) -> Path:
    from vidtok_edge.runtime.bundle import Bundle
    from vidtok_edge.runtime.proofs import write_proof
    from vidtok_edge.runtime.proving.prove import prove

    _golden("", folder)
    return write_proof(folder, prove(Bundle.load(folder)))


def _read_proof(path: Path) -> None:
    from vidtok_edge.runtime.proofs import read_proof
    from vidtok_edge.runtime.proving.proof_report import Collected, page_of

    page_of("bundle", Collected((read_proof(path),), ()))


def _timing(folder: Path) -> Path:
    path = folder / "engines/tensorrt.10.3.sm87.timing"
    path.parent.mkdir()
    path.write_bytes(bytes(1000))
    return path


def _read_timing(path: Path) -> None:
    from vidtok_edge.runtime.backends.backend import Target as BackendTarget
    from vidtok_edge.runtime.backends.engines.building.files import read_timing
    from vidtok_edge.runtime.backends.engines.sidecar import EngineHost

    host = EngineHost(target=BackendTarget.TENSORRT, version="10.3", gpu="sm87", gpu_name="Orin")
    read_timing(path.parent.parent, host)
