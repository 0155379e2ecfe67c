"""Every reader of files that others made, with a sound file for it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path
from unittest import mock

import numpy as np

from fuzz.mutations import of_bytes, of_text, of_zip
from fuzz.recordings import recording_targets
from fuzz.sets import set_targets
from fuzz.target import HERE, Target

__all__ = ["TARGETS", "Target"]

MOST_FRAMES = 40
MOST_NPZ = 1 << 24


# -- token files


def _copy(name: str, folder: Path) -> Path:
    return Path(shutil.copy(HERE / name, folder))


def _npy(folder: Path) -> Path:
    path = folder / "tokens.npy"
    np.save(path, np.arange(24, dtype=np.int32).reshape(2, 3, 4))
    return path


def _tokens(path: Path) -> None:
    from vidtok_edge.runtime.clips.token_files import TokenFile

    TokenFile.load(path)


# -- bundles


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


# -- golden streams and proofs


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


# -- calibration


def _calibrated(name: str, folder: Path) -> Path:
    from vidtok_edge.calib.clips import UsedClip
    from vidtok_edge.calib.methods import Range
    from vidtok_edge.calib.policy import DEFAULT_POLICY
    from vidtok_edge.calib.ranges import RANGES, DataFacts, LayerRanges, Ranges, TensorRanges
    from vidtok_edge.calib.resume import PROGRESS, CalibrationState, TensorKey

    data = DataFacts(
        variant="v",
        weights_sha256="0" * 64,
        height=64,
        width=96,
        frames_per_clip=None,
        clips=(UsedClip("a.mp4", "a" * 64, 8),),
    )
    if name == "policy":
        return DEFAULT_POLICY.save(folder, {"encoder.conv_in": "float"})
    if name == "ranges":
        both = TensorRanges(Range(-0.25, 3.5), Range(-3.25, 3.25))
        layers = (LayerRanges("conv_in", both, both),)
        Ranges(
            schema=1,
            toolkit="0",
            data=data,
            skipped=(),
            method="percentile",
            percentile=99.9,
            encoder=layers,
            decoder=layers,
        ).save(folder)
        return folder / RANGES
    state = CalibrationState(data)
    state.histogram(TensorKey("encoder", "conv_in", "input"))
    state.save(folder)
    return folder / PROGRESS


def _ranges(path: Path) -> None:
    from vidtok_edge.calib.ranges import Ranges

    Ranges.load(path.parent.parent)


def _policy(path: Path) -> None:
    from vidtok_edge.calib.policy import Policy

    layers = [f"encoder.down.{i}.conv" for i in range(100)]
    Policy.load(path).levels(layers)


def _progress(path: Path) -> None:
    from vidtok_edge.calib.clips import UsedClip
    from vidtok_edge.calib.ranges import DataFacts
    from vidtok_edge.calib.resume import CalibrationState

    data = DataFacts(
        variant="v",
        weights_sha256="0" * 64,
        height=64,
        width=96,
        frames_per_clip=None,
        clips=(UsedClip("a.mp4", "a" * 64, 8),),
    )
    CalibrationState.load(path.parent.parent, data)


# -- checkpoints


def _config(folder: Path) -> Path:
    import yaml
    from original_config import config_of

    from vidtok_edge.variants import VARIANTS

    path = folder / "model.yaml"
    path.write_text(yaml.safe_dump(config_of(VARIANTS["vidtok_fsq_causal_488_32768_v1_1"])))
    return path


def _read_config(path: Path) -> None:
    from vidtok_edge.vidtok_ref.config import variant_from_config

    variant_from_config(path)


def _checkpoint(name: str, folder: Path) -> Path:
    import torch
    from safetensors.torch import save_file

    state = {
        f"{part}.{n}.weight": torch.ones(2, 2) for part in ("encoder", "decoder") for n in "ab"
    }
    if name == "index":
        save_file(state, folder / "a.safetensors")
        path = folder / "model.safetensors.index.json"
        path.write_text(json.dumps({"weight_map": dict.fromkeys(state, "a.safetensors")}))
    elif name == "safetensors":
        path = folder / "a.safetensors"
        save_file(state, path)
    else:
        path = folder / "a.pt"
        torch.save({"state_dict": state}, path, _use_new_zipfile_serialization=name == "zip")
    return path


def _weights(path: Path) -> None:
    from vidtok_edge.vidtok_ref.checkpoint_files import content_of
    from vidtok_edge.vidtok_ref.wrappers import unwrapped

    unwrapped(path, content_of(path), ("encoder.a.weight",), ema=False)


# -- pictures and clips


def _picture(suffix: str, folder: Path) -> Path:
    from PIL import Image

    path = folder / f"a.{suffix}"
    pixels = np.arange(32 * 32 * 3, dtype=np.uint32).astype(np.uint8).reshape(32, 32, 3)
    Image.fromarray(pixels).save(path)
    return path


def _read_pictures(path: Path) -> None:
    from vidtok_edge.runtime.sources.image_folder import ImageFolderSource

    with (
        warnings.catch_warnings(),
        closing(ImageFolderSource(str(path.parent), (16, 16), fps=10)) as source,
    ):
        warnings.simplefilter("ignore")  # Pillow tells of damaged tags and of large pictures so
        for _ in source:
            pass


def _clip(suffix: str, folder: Path) -> Path:
    from clips import make_clip

    return make_clip(folder / f"a.{suffix}", 6)


def _read_clip(path: Path) -> None:
    from vidtok_edge.runtime.clips.reading import ClipReader

    with ClipReader(path, size=(16, 16), rate="every-frame") as reader:
        for _ in islice(reader, MOST_FRAMES):
            pass


def _y4m(folder: Path) -> Path:
    """Three frames of 16x16, subsampled: 384 bytes each."""
    frames = b"".join(b"FRAME\n" + bytes([n]) * 384 for n in range(3))
    path = folder / "a.y4m"
    path.write_bytes(b"YUV4MPEG2 W16 H16 F30:1 Ip A1:1 C420jpeg\n" + frames)
    return path


def _read_pipe(path: Path) -> None:
    from vidtok_edge.runtime.sources.raw_pipe import RawPipeSource

    with closing(RawPipeSource(str(path), (16, 16))) as source:
        for _ in islice(source, MOST_FRAMES):
            pass


# -- the rest


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


_TORCH = ("torch", "safetensors")
_MCAP = ("mcap", "lz4", "zstandard")
_VIDEO = ("av", "PIL")


def _targets() -> list[Target]:
    found = [
        Target(name="tokens.npy", make=_npy, read=_tokens),
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
        Target(name="hashes", make=_hashes, read=_read_hashes, mutation=of_text),
        Target(
            name="config",
            make=_config,
            read=_read_config,
            mutation=of_text,
            needs=("yaml", "torch"),
        ),
    ]
    found += [
        Target(
            name=name, make=partial(_copy, f"written_before/{name}"), read=_tokens, mutation=of_zip
        )
        for name in ("tokens.npz", "kl.npz")
    ]
    readers = {"ranges": _ranges, "policy": _policy, "progress": _progress}
    found += [
        Target(
            name=name,
            make=partial(_calibrated, name),
            read=read,
            mutation=of_zip if name == "progress" else of_text,
            needs=_TORCH,
        )
        for name, read in readers.items()
    ]
    changes = {"safetensors": of_bytes, "zip": of_zip, "pickle": of_bytes, "index": of_text}
    found += [
        Target(
            name=f"checkpoint.{name}",
            make=partial(_checkpoint, name),
            read=_weights,
            mutation=mutation,
            needs=_TORCH,
        )
        for name, mutation in changes.items()
    ]
    found += recording_targets()
    found += set_targets()
    found += [
        Target(
            name=f"picture.{suffix}",
            make=partial(_picture, suffix),
            read=_read_pictures,
            needs=_VIDEO,
        )
        for suffix in ("png", "jpg", "bmp", "tiff", "webp", "ppm")
    ]
    found += [
        Target(
            name=f"golden.{end}",
            make=partial(_golden, f"golden/golden.{end}"),
            read=_read_golden,
            mutation=mutation,
            needs=("onnx", "onnxruntime"),
        )
        for end, mutation in (("json", of_text), ("npz", of_zip))
    ]
    found.append(
        Target(
            name="proof",
            make=_proof,
            read=_read_proof,
            mutation=of_text,
            needs=("onnx", "onnxruntime"),
        )
    )
    found.append(
        Target(
            name="bench",
            make=_document,
            read=_read_document,
            mutation=of_text,
            needs=("onnxruntime", "PIL"),
        )
    )
    found += [
        Target(name=f"clip.{suffix}", make=partial(_clip, suffix), read=_read_clip, needs=_VIDEO)
        for suffix in ("mp4", "mkv", "avi", "ts")
    ]
    found.append(Target(name="pipe.y4m", make=_y4m, read=_read_pipe, needs=_VIDEO))
    return found


TARGETS = {target.name: target for target in _targets()}
