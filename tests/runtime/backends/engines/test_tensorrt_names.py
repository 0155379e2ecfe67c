"""What we use of TensorRT exists from 10.3 to 11.4 and in TensorRT-RTX."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tensorrt_names import VERSIONS, Use, names_of, protocol_names, uses, wanting

from vidtok_edge.runtime.backends.engines import api
from vidtok_edge.runtime.backends.engines.building import build

ROOT = Path(api.__file__).resolve().parents[3]
BUILD = Path(str(build.__file__))


def touching() -> list[Path]:
    """Our modules that have anything to do with TensorRT's interface, protocols apart."""
    files = [
        p for room in ("export", "runtime", "calib") for p in sorted((ROOT / room).rglob("*.py"))
    ]
    pattern = r"engines.api import|import tensorrt(_rtx)?\b"
    return [p for p in files if re.search(pattern, p.read_text(encoding="utf-8"))]


def test_the_modules_that_touch_tensorrt_are_found() -> None:
    names = {path.stem for path in touching()}
    assert names >= {
        "build",
        "network",
        "precision_proof",
        "targets",
        "library",
        "interrupt",
    }


@pytest.mark.parametrize("path", touching(), ids=lambda path: path.stem)
def test_every_name_exists_in_every_version(path: Path) -> None:
    found = uses(path.read_text(encoding="utf-8"))
    assert found, "no TensorRT name was recognised in it"
    assert wanting(found) == []


def test_every_name_of_the_protocols_exists_in_every_version() -> None:
    found = protocol_names()
    assert Use("BuilderFlag", "TF32", 0, False) in found
    assert Use("OnnxParser", "parse_from_file", 0, False) in found
    assert wanting(found) == []


def test_the_reader_follows_what_we_use() -> None:
    source = BUILD.read_text(encoding="utf-8")
    names = {(use.owner, use.name) for use in uses(source)}
    assert names >= {
        ("", "BuilderFlag"),
        ("BuilderFlag", "TF32"),
        ("IBuilderConfig", "clear_flag"),
        ("IBuilderConfig", "progress_monitor"),
        ("Builder", "build_serialized_network"),
        ("Runtime", "deserialize_cuda_engine"),
        ("ICudaEngine", "create_engine_inspector"),
        ("EngineInspector", "get_engine_information"),
        ("ITimingCache", "serialize"),
    }


@pytest.mark.parametrize(
    ("line", "missing", "version"),
    [
        ("config.set_flag(library.BuilderFlag.FP16)", "BuilderFlag.FP16", "11.4.0.106"),
        ("config.int8_calibrator = None", "IBuilderConfig.int8_calibrator", "rtx1.7.1"),
        ("parsed.builder.platform_has_fast_fp16", "Builder.platform_has_fast_fp16", "11.4.0.106"),
        ("library.IInt8EntropyCalibrator2", "tensorrt.IInt8EntropyCalibrator2", "11.4.0.106"),
        ("config.num_compute_capabilities = 1", "IBuilderConfig.num_compute", "10.3.0"),
        (
            "library.NetworkDefinitionCreationFlag.EXPLICIT_BATCH",
            "NetworkDefinitionCreationFlag.EXPLICIT_BATCH",
            "11.4.0.106",
        ),
    ],
)
def test_a_removed_name_is_noticed(line: str, missing: str, version: str) -> None:
    source = BUILD.read_text(encoding="utf-8")
    anchor = "    config = parsed.builder.create_builder_config()\n"
    assert source.count(anchor) == 1
    changed = source.replace(anchor, f"{anchor}    {line}\n")
    assert any(missing in found and version in found for found in wanting(uses(changed)))


def test_what_is_asked_for_with_hasattr_may_be_absent() -> None:
    plain = "def f(config: IBuilderConfig) -> None:\n    config.set_compute_capability(1, 0)\n"
    guarded = plain.replace(
        "    config", "    if hasattr(config, 'set_compute_capability'): config"
    )
    assert wanting(uses(plain)) and not wanting(uses(guarded))


def test_the_versions_differ_as_they_are_known_to() -> None:
    assert len(VERSIONS) == 5
    assert "FP16" in names_of("10.3.0")["BuilderFlag"]
    assert "FP16" not in names_of("11.4.0.106")["BuilderFlag"]
    assert "ComputeCapability" not in names_of("10.16.1.11")
