"""The original's YAML describes a variant; a setting that is not implemented is named."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from original_config import config_of

from vidtok_edge.errors import CheckpointError, UsageError
from vidtok_edge.lowering.facts import manifest_of, variant_of
from vidtok_edge.lowering.step import StepOptions
from vidtok_edge.runtime.manifest.manifest import Manifest
from vidtok_edge.variants import EMBEDDED, VARIANTS
from vidtok_edge.vidtok_ref import load_weights
from vidtok_edge.vidtok_ref.config import variant_from_config
from vidtok_edge.vidtok_ref.weights import random_state


def written(config: object, folder: Path) -> Path:
    path = folder / "model.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def changed(
    place: str, value: object, name: str = "vidtok_fsq_causal_488_32768_v1_1"
) -> dict[str, Any]:
    """The configuration of a published model with one value set; None takes the key out."""
    config = deepcopy(config_of(VARIANTS[name]))
    section = config["model"]["params"]
    *way, last = place.split(".")
    for key in way:
        section = section[key]
    if value is None:
        del section[last]
    else:
        section[last] = value
    return config


@pytest.mark.parametrize("name", VARIANTS)
def test_a_published_configuration_is_that_variant(name: str, tmp_path: Path) -> None:
    assert variant_from_config(written(config_of(VARIANTS[name]), tmp_path)) is VARIANTS[name]


def test_levels_that_are_left_out_are_the_originals(tmp_path: Path) -> None:
    name = "vidtok_fsq_causal_41616_262144_v1_1"
    config = config_of(VARIANTS[name])
    params = config["model"]["params"]["encoder_config"]["params"]
    for key in ("spatial_ds", "spatial_us", "tempo_ds", "tempo_us", "time_downsample_factor"):
        del params[key]
    assert variant_from_config(written(config, tmp_path)) is VARIANTS[name]


P = "encoder_config.params."


@pytest.mark.parametrize(
    ("place", "value", "field", "expected"),
    [
        (P + "ch", 64, "ch", 64),
        (P + "ch_mult", [1, 2, 2, 4], "ch_mult", (1, 2, 2, 4)),
        (P + "num_res_blocks", 1, "num_res_blocks", 1),
        ("regularizer_config.params.levels", [8, 8, 8, 5, 5], "levels", (8, 8, 8, 5, 5)),
    ],
)
def test_a_model_of_ones_own_is_custom_and_whole_in_its_manifest(
    place: str, value: object, field: str, expected: object, tmp_path: Path
) -> None:
    variant = variant_from_config(written(changed(place, value), tmp_path))
    assert getattr(variant, field) == expected and variant.name.startswith("custom_fsq_causal_488_")
    manifest = manifest_of(variant, StepOptions(64, 64))
    read = Manifest.from_json(manifest.to_json())
    assert variant_of(read) == variant
    assert read.custom is not None and read.custom.ch == variant.ch


def test_the_manifest_of_a_published_model_is_as_before() -> None:
    manifest = manifest_of(EMBEDDED, StepOptions(64, 64))
    assert '"custom"' not in manifest.to_json()
    assert variant_of(Manifest.from_json(manifest.to_json())) is EMBEDDED


def test_a_manifest_with_an_impossible_configuration_is_refused(tmp_path: Path) -> None:
    variant = variant_from_config(written(changed(P + "ch", 64), tmp_path))
    text = manifest_of(variant, StepOptions(64, 64)).to_json()
    with pytest.raises(Exception, match="is no configuration of a model"):
        Manifest.from_json(text.replace('"ch": 64', '"ch": 10000000'))


@pytest.mark.parametrize(
    ("place", "value", "match"),
    [
        (P + "norm_type", "groupnorm", r"norm_type is 'groupnorm' \(only 'layernorm' is\)"),
        (P + "norm_type", None, "norm_type is 'groupnorm'"),
        (P + "init_pad_mode", "constant", "init_pad_mode is 'constant'"),
        (P + "interpolation_mode", "nearest", "interpolation_mode is 'nearest' in a v1.1 model"),
        (P + "interpolation_mode", None, "interpolation_mode is 'nearest' in a v1.1 model"),
        (P + "attn_type", "linear", "attn_type is a setting that is not known here"),
        (P + "in_channels", 4, "in_channels is 4"),
        (P + "double_z", True, "double_z is not as fsq needs it"),
        (P + "z_channels", 4, "z_channels is 4 with 5 levels"),
        (P + "ch", "128", "ch is .*whole numbers from 1"),
        (P + "ch", 10**9, "ch is .*whole numbers from 1"),
        (P + "ch_mult", [1, 2], "fewer than three levels"),
        (P + "ch_mult", None, "ch_mult is None"),
        (P + "tempo_ds", [1], "time_downsample_factor is 4 with tempo_ds"),
        (P + "tempo_ds", [1, 9], r"tempo_ds is \[1, 9\] in a model of 4 levels"),
        (P + "time_downsample_factor", 8, "time_downsample_factor is 8"),
        ("encoder_config.target", "vidtok.modules.model_2d.Encoder", "target of the encoder"),
        ("decoder_config.params", {"ch": 64}, "params that differ from the encoder's"),
        ("regularizer_config.target", "x.LFQ", "regularizer_config.target is 'x.LFQ'"),
        ("regularizer_config.params.levels", [1, 8, 8, 8, 8], "levels is .*whole numbers from 2"),
        ("regularizer_config.params.levels", [1001, 8, 8, 8, 8], "from 2 to 1000 of each"),
        ("regularizer_config.params.levels", [900] * 5, "different tokens"),
        ("regularizer_config.params.num_codebooks", 2, "num_codebooks is a setting"),
        ("regularizer_config", None, "has no model.params.regularizer_config"),
    ],
)
def test_what_is_not_implemented_is_refused_by_name(
    place: str, value: object, match: str, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=match):
        variant_from_config(written(changed(place, value), tmp_path))


@pytest.mark.parametrize(
    "text",
    ["", "[1, 2", "- 1", "\0", "a: " + "[" * 20_000, "!!python/object/apply:os.system [x]"],
    ids=["empty", "cut", "list", "zero", "deep", "code"],
)
def test_a_file_that_is_no_configuration(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(CheckpointError, match=r"a\.yaml"):
        variant_from_config(path)


def test_a_file_that_is_too_large_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    with pytest.raises(CheckpointError, match="no file"):
        variant_from_config(path)
    path.write_bytes(b"#" * (2 << 20))
    with pytest.raises(CheckpointError, match="larger than 65536 bytes"):
        variant_from_config(path)


def test_weights_of_ones_own_model_load(tmp_path: Path) -> None:
    config = changed(P + "ch", 8)
    config["model"]["params"]["encoder_config"]["params"]["num_res_blocks"] = 1
    variant = variant_from_config(written(config, tmp_path))
    path = tmp_path / "vidtok_fsq_causal_488_32768_v1_1-mine.ckpt"
    torch.save({"state_dict": random_state(variant)}, path)
    model, origin = load_weights(variant, str(path))
    assert model.variant == variant and origin.assumed == ""
    with pytest.raises(UsageError, match="a configuration of yours"):
        load_weights(variant, None)
