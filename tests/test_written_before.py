"""What an earlier commit wrote is read as that commit read it: `tests/written_before/README.md`."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.backends.engines.sidecar import read_sidecar
from vidtok_edge.runtime.clips.token_files import TokenFile
from vidtok_edge.runtime.manifest.graphs import Placement
from vidtok_edge.runtime.manifest.manifest import Manifest
from vidtok_edge.runtime.recording import Recording
from vidtok_edge.runtime.session.replay import replay
from vidtok_edge.runtime.streaming.records import LatentRecord, Marker

FOLDER = Path(__file__).parent / "written_before"
EXPECTED = json.loads((FOLDER / "expected.json").read_text("utf-8"))
TIMES: tuple[str, ...] = ("source", "stream", "index", "first_frame", "frames_real")
TIMES += ("capture_time_ns", "wall_time_ns", "encode_start_ns", "encode_end_ns", "log_time_ns")
MARKER = ("source", "kind", "stream", "index", "frames", "detail", "time_ns", "wall_time_ns", "fps")


def sha256(*arrays: NDArray[Any]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def test_a_bundle_streams() -> None:
    bundle = Bundle.load(FOLDER / "bundle", check_hashes=True)
    with bundle.encoder() as encoder, bundle.decoder() as decoder:
        frames = np.random.default_rng(0).integers(0, 256, (9, 16, 16, 3), np.uint8)
        latents = [got for frame in frames for got in encoder.push(frame)] + encoder.finish()
        pictures = [p for got in latents for p in decoder.push(got)] + decoder.finish()
    assert len(pictures) == len(frames)


@pytest.mark.parametrize("name", ["tokens.npz", "kl.npz"])
def test_token_files(name: str, tmp_path: Path) -> None:
    file = TokenFile.load(FOLDER / name)
    arrays = [a for a in (file.tokens, file.mean, file.logvar, file.time_ns) if a is not None]
    assert sha256(*arrays) == EXPECTED[name]["arrays"]
    assert file.meta is not None
    assert json.loads(file.meta.to_json()) == EXPECTED[name]["meta"]
    file.save(tmp_path / name)
    if sys.version_info >= (3, 11, 4):  # before, zipfile wrote another version number
        assert (tmp_path / name).read_bytes() == (FOLDER / name).read_bytes()
    assert members(tmp_path / name) == members(FOLDER / name)


def members(path: Path) -> list[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as archive:
        return [(name, archive.read(name)) for name in archive.namelist()]


@pytest.mark.parametrize("name", ["recording.mcap", "kl.mcap"])
@pytest.mark.parametrize("use_index", [True, False])
def test_recordings(name: str, use_index: bool) -> None:
    with Recording.open(FOLDER / name, use_index=use_index) as recording:
        entries = list(recording.entries())
        assert recording.damage == []
    latents = [entry for entry in entries if isinstance(entry, LatentRecord)]
    markers = [entry for entry in entries if isinstance(entry, Marker)]
    times = np.array([[getattr(found, field) for field in TIMES] for found in latents], np.int64)
    assert sha256(*[latent.values for latent in latents]) == EXPECTED[name]["latents"]
    assert sha256(times) == EXPECTED[name]["times"]
    got = [[getattr(marker, field) for field in MARKER] for marker in markers]
    assert got == EXPECTED[name]["markers"]


def test_a_recording_replays() -> None:
    frames = io.BytesIO()
    done = replay(FOLDER / "recording.mcap", Bundle.load(FOLDER / "bundle"), frames)
    expected = EXPECTED["recording.mcap"]
    assert done.frames == expected["frames"]
    assert hashlib.sha256(frames.getvalue()).hexdigest() == expected["replayed"]


def test_the_papers_of_a_bundle() -> None:
    text = (FOLDER / "embedded" / "manifest.json").read_text("utf-8")
    manifest = Manifest.from_json(text)
    assert manifest.to_json() == text
    assert manifest.precisions == ("fp32", "fp16", "int8")
    sidecar = read_sidecar(FOLDER / "embedded" / "encoder.fp16.tensorrt-rtx.sm86.engine")
    assert sidecar.onnx_sha256 == manifest.graph("encoder", "fp16", Placement.TENSORRT).sha256


def test_ranges_and_policies(tmp_path: Path) -> None:
    from vidtok_edge.calib.policy import Policy
    from vidtok_edge.calib.ranges import Ranges

    folder = tmp_path / "calibration"
    shutil.copytree(FOLDER / "embedded", folder)
    ranges = Ranges.load(tmp_path)
    assert ranges is not None and len(list(ranges.layers("encoder"))) > 20
    written = json.loads((folder / "ranges.json").read_text("utf-8"))
    ranges.save(tmp_path)
    assert json.loads((folder / "ranges.json").read_text("utf-8")) == written
    assert Policy.load(folder / "policy.json").rules
