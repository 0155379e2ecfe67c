"""Bundles on disk: loaded, checked, run from end to end, and refused in words."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from vidtok_edge.errors import (
    BundleError,
    BundleFileChanged,
    BundleFileMissing,
    BundleMismatch,
    BundleMissing,
    BundlePathEscapes,
    EngineMissing,
)
from vidtok_edge.hashes import sha256_of
from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime import bundle as bundle_module
from vidtok_edge.runtime.backends.gpu import Gpu
from vidtok_edge.runtime.bundle import FORMS, MANIFEST
from vidtok_edge.runtime.manifest.manifest import Manifest

GRAPH = "encoder.fp32.onnx"


def test_frames_to_tokens_to_frames(tiny: Path) -> None:
    bundle = Bundle.load(str(tiny), check_hashes=True)
    shown = []
    with bundle.encoder("cpu") as encoder, bundle.decoder("cpu") as decoder:
        assert str(encoder.backend).startswith("cpu on onnxruntime")
        latents = []
        for _ in range(6):
            latents += encoder.push(np.full((16, 16, 3), 2, np.uint8), slot=1)
        latents += encoder.finish(1)
        for part in latents:
            shown += decoder.push(part)
        shown += decoder.finish(1)
    assert [int(p.values.flat[0]) for p in latents] == [2, 4, 6]
    assert [(p.slot, p.frame) for p in shown] == [(1, i) for i in range(6)]
    assert [int(p.pixels.flat[0]) for p in shown] == [2, 6, 6, 6, 6, 12]


def test_engines_in_another_precision_are_not_passed_over_in_silence(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle_module, "present_gpu", lambda: Gpu("Orin", "sm87", 8 << 30))
    manifest = Bundle.load(tiny).manifest
    fp16 = [replace(graph, precision="fp16") for graph in manifest.graphs]  # of the same files
    text = replace(manifest, graphs=(*manifest.graphs, *fp16)).to_json()
    (tiny / MANIFEST).write_text(text)
    bundle = Bundle.load(tiny)
    bundle.step("encoder").close()
    (tiny / "engines").mkdir()
    (tiny / "engines" / "encoder.fp16.tensorrt.sm87.engine").touch()
    with bundle.step("encoder") as step:
        assert not step.info
        assert step.info.fell_back == "there are engines in fp16; ask for that precision"
    for kind, precision in (("encoder", "fp32"), ("decoder", None)):
        with bundle.step(cast(Any, kind), precision=precision) as step:
            assert step.info, "fp32 was asked for; there is no engine of a decoder"


def test_an_unverified_bundle_loads_and_says_so(tiny: Path) -> None:
    assert not Bundle.load(tiny).verified
    text = (tiny / MANIFEST).read_text()
    (tiny / MANIFEST).write_text(text.replace('"verified": false', '"verified": true'))
    assert Bundle.load(tiny).verified


def test_a_bundle_may_be_moved_and_linked(tiny: Path, tmp_path: Path) -> None:
    shutil.move(tiny, tmp_path / "elsewhere")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    assert Bundle.load(tmp_path / "link", check_hashes=True).manifest.model.variant == "tiny"


def no_folder(folder: Path) -> None:
    shutil.rmtree(folder)


def no_manifest(folder: Path) -> None:
    (folder / MANIFEST).unlink()


def a_folder_for_a_manifest(folder: Path) -> None:
    (folder / MANIFEST).unlink()
    (folder / MANIFEST).mkdir()


def a_pipe_for_a_manifest(folder: Path) -> None:
    (folder / MANIFEST).unlink()
    os.mkfifo(folder / MANIFEST)


def a_file_for_a_folder(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("x")


def utf16(folder: Path) -> None:
    (folder / MANIFEST).write_text((folder / MANIFEST).read_text(), encoding="utf-16")


def huge(folder: Path) -> None:
    with (folder / MANIFEST).open("ab") as file:
        file.truncate(1 << 31)  # sparse


def graph_missing(folder: Path) -> None:
    (folder / GRAPH).unlink()


def weights_missing(folder: Path) -> None:
    (folder / (GRAPH + ".data")).unlink()


def graph_is_a_folder(folder: Path) -> None:
    (folder / GRAPH).unlink()
    (folder / GRAPH).mkdir()


def graph_is_a_link_out(folder: Path) -> None:
    shutil.move(folder / GRAPH, folder.parent / "outside")
    (folder / GRAPH).symlink_to(folder.parent / "outside")


def graph_is_a_link_to_nothing(folder: Path) -> None:
    (folder / GRAPH).unlink()
    (folder / GRAPH).symlink_to("nothing")


def graph_is_a_loop(folder: Path) -> None:
    (folder / GRAPH).unlink()
    (folder / GRAPH).symlink_to(GRAPH)


def test_the_command_that_is_told_can_be_copied(tmp_path: Path) -> None:
    with pytest.raises(BundleMissing) as told:
        Bundle.load(tmp_path / "my bundle")
    assert str(told.value).endswith(f"--output '{tmp_path / 'my bundle'}'")


@pytest.mark.parametrize(
    ("harm", "error", "sentence"),
    [
        (no_folder, BundleMissing, "is not a folder. Write a bundle with: vidtok-export"),
        (a_file_for_a_folder, BundleMissing, "is not a folder"),
        (no_manifest, BundleMissing, r"has no manifest\.json"),
        (a_folder_for_a_manifest, BundleMissing, r"has no manifest\.json"),
        (a_pipe_for_a_manifest, BundleMissing, r"has no manifest\.json"),
        (utf16, BundleError, "is not UTF-8 text"),
        (huge, BundleError, "more than 16 MiB: it is no manifest"),
        (graph_missing, BundleFileMissing, rf"{GRAPH} is missing: .*Copy the whole bundle"),
        (weights_missing, BundleFileMissing, rf"{GRAPH}\.data is missing"),
        (graph_is_a_folder, BundleFileMissing, f"{GRAPH} is missing"),
        (graph_is_a_link_to_nothing, BundleFileMissing, f"{GRAPH} is missing"),
        (graph_is_a_link_out, BundlePathEscapes, "is a link out of the bundle"),
        (graph_is_a_loop, BundleError, "is missing|cannot be read"),
    ],
)
def test_a_harmed_bundle(
    tiny: Path, harm: Callable[[Path], None], error: type[BundleError], sentence: str
) -> None:
    harm(tiny)
    with pytest.raises(BundleError, match=sentence) as caught:
        Bundle.load(tiny)
    assert type(caught.value) is error or harm is graph_is_a_loop


@pytest.mark.parametrize("name", [GRAPH, "decoder.fp32.onnx.data"])
def test_a_changed_file(tiny: Path, name: str) -> None:
    with (tiny / name).open("ab") as file:
        file.write(b"\x80\x01\x00")  # to a graph a field that nobody knows
    Bundle.load(tiny)  # reading every weight is asked for, not always done
    with pytest.raises(
        BundleFileChanged, match=rf"{name} has SHA-256 \w{{12}}…, the manifest says"
    ):
        Bundle.load(tiny, check_hashes=True)


@pytest.mark.parametrize("method", ["open", "is_file"])
def test_without_permission(tiny: Path, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    def fails(*args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, method, fails)
    with pytest.raises(BundleError, match=r"cannot be read: Permission denied\. Check its perm"):
        Bundle.load(tiny)


def test_a_file_that_cannot_be_read_for_its_hash(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(path: Path) -> str:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("vidtok_edge.runtime.known_hashes.sha256_of", fails)
    with pytest.raises(BundleError, match="cannot be read: Input/output error"):
        Bundle.load(tiny, check_hashes=True)


def test_a_manifest_and_a_graph_that_disagree(tiny: Path) -> None:
    manifest = json.loads((tiny / MANIFEST).read_text())
    for side in ("inputs", "outputs"):
        manifest["graphs"][0][side][-1]["shape"] = [2, 7]
    (tiny / MANIFEST).write_text(json.dumps(manifest))
    bundle = Bundle.load(tiny)
    with pytest.raises(
        BundleMismatch, match=r"2 tensor\(s\): cache_000 float32 \[2, 1\]; cache_000 .*\[2, 7\]"
    ):
        bundle.encoder("cpu")
    bundle.decoder("cpu").close()


def test_sha256(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert sha256_of(tmp_path / "x").startswith("ba7816bf8f01cfea")


# --- other forms ------------------------------------------------------------------------------


def test_the_same_model_in_another_form(tiny: Path) -> None:
    assert Bundle.load(tiny).other_forms() == []
    shutil.copytree(tiny, tiny / FORMS / "conv3d")
    [form] = Bundle.load(tiny).other_forms()
    assert form.path == tiny / FORMS / "conv3d"


def test_an_engine_of_a_form_for_onnx_runtime_is_missing(tiny: Path) -> None:
    manifest = Manifest.from_json((tiny / MANIFEST).read_text())
    graphs = tuple(replace(graph, form="channels_last") for graph in manifest.graphs)
    (tiny / MANIFEST).write_text(replace(manifest, graphs=graphs).to_json())
    bundle = Bundle.load(tiny)
    with pytest.raises(EngineMissing, match=r"No engine is built of encoder\.fp32\.onnx"):
        bundle.step("encoder", "tensorrt")
    with bundle.step("encoder") as step:
        assert step.graph.form == "channels_last" and not step.info.fell_back


def test_a_form_of_another_model_is_refused(tiny: Path) -> None:
    other = Path(shutil.copytree(tiny, tiny / FORMS / "conv3d"))
    manifest = Manifest.from_json((other / MANIFEST).read_text())
    weights = replace(manifest.weights, sha256="a" * 64)
    (other / MANIFEST).write_text(replace(manifest, weights=weights).to_json())
    with pytest.raises(BundleMismatch, match="of another model or size"):
        Bundle.load(tiny).other_forms()


def test_a_form_that_lies_elsewhere_is_refused(tiny: Path, tmp_path: Path) -> None:
    elsewhere = shutil.copytree(tiny, tmp_path / "elsewhere")
    (tiny / FORMS).mkdir()
    (tiny / FORMS / "conv3d").symlink_to(elsewhere)
    with pytest.raises(BundlePathEscapes, match="a link out of the bundle"):
        Bundle.load(tiny).other_forms()
