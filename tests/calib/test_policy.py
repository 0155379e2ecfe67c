"""Which layers run in INT8: the last rule that fits decides, and a rule must fit something."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vidtok_edge.calib.policy import DEFAULT_POLICY, POLICY, Policy, Rule
from vidtok_edge.errors import CalibrationError, OutputNotWritable, UsageError

LAYERS = [
    "encoder.conv_in",
    "encoder.down.0.block.0.conv1",
    "encoder.mid.attn_1.qkv",
    "encoder.conv_out",
    "encoder.down.0.downsample",
    "encoder.down_temporal.1.downsample",
    "encoder.down.2.block.0.nin_shortcut",
    "decoder.up.2.block.0.nin_shortcut",
    "decoder.up_temporal.2.upsample.conv",
    "decoder.mid.block_1.conv1",
    "decoder.conv_out",
]


def test_the_default_recipe() -> None:
    assert DEFAULT_POLICY.levels(LAYERS) == {
        "encoder.conv_in": "float",
        "encoder.down.0.block.0.conv1": "int8",
        "encoder.mid.attn_1.qkv": "float",
        "encoder.conv_out": "float",
        "encoder.down.0.downsample": "float",
        "encoder.down_temporal.1.downsample": "float",
        "encoder.down.2.block.0.nin_shortcut": "float",
        "decoder.up.2.block.0.nin_shortcut": "int8",
        "decoder.up_temporal.2.upsample.conv": "float",
        "decoder.mid.block_1.conv1": "int8",
        "decoder.conv_out": "cache",
    }


def test_the_last_rule_that_fits_decides() -> None:
    policy = DEFAULT_POLICY.with_rules([Rule("decoder.*", "float"), Rule("*.mid.block*", "cache")])
    levels = policy.levels(LAYERS)
    assert levels["decoder.conv_out"] == "float"
    assert levels["decoder.mid.block_1.conv1"] == "cache"
    assert levels["encoder.down.0.block.0.conv1"] == "int8"


def test_what_no_rule_fits_is_float() -> None:
    assert Policy(()).levels(["a"]) == {"a": "float"}
    assert Policy((Rule("b?", "int8"),)).levels(["b", "b1"]) == {"b": "float", "b1": "int8"}


def test_a_rule_is_read_and_written() -> None:
    assert Rule.parse("decoder.mid.*=float") == Rule("decoder.mid.*", "float")
    assert str(Rule("decoder.mid.*", "float")) == "decoder.mid.*=float"


@pytest.mark.parametrize("text", ["", "a", "a=", "=int8", "a=fp16", "a=int8=int8"])
def test_what_is_no_rule(text: str) -> None:
    with pytest.raises(UsageError, match=r"is no rule. Write PATTERN=LEVEL.*float, cache, int8"):
        Rule.parse(text)


def test_a_rule_that_fits_nothing_is_refused_and_the_nearest_named() -> None:
    with pytest.raises(UsageError, match=r"No layer matches 'decoder.mid.blok_1.conv1'. .*decoder"):
        DEFAULT_POLICY.with_rules([Rule("decoder.mid.blok_1.conv1", "float")]).check(LAYERS)
    DEFAULT_POLICY.with_rules([Rule("decoder.mid.*", "float")]).check(LAYERS)


def test_the_rules_of_every_policy_need_not_fit() -> None:
    DEFAULT_POLICY.check(["decoder.mid.block_1.conv1"])


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    policy = DEFAULT_POLICY.with_rules([Rule("decoder.*", "cache")])
    path = policy.save(tmp_path, policy.levels(LAYERS))
    assert path == tmp_path / POLICY
    assert Policy.load(path) == policy
    assert json.loads(path.read_text())["layers"] == policy.levels(LAYERS)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"schema": 2, "rules": []}',
        '{"schema": 1}',
        '{"schema": 1, "rules": [{"pattern": "a", "level": "fp8"}]}',
        "[" * 100_000,
    ],
    ids=["empty", "list", "schema", "no rules", "level", "deep"],
)
def test_what_is_no_policy(content: str, tmp_path: Path) -> None:
    file = tmp_path / "policy.json"
    file.write_text(content)
    with pytest.raises(CalibrationError, match="cannot be used as a policy"):
        Policy.load(file)


def test_a_bundle_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(OutputNotWritable):
        DEFAULT_POLICY.save(tmp_path / "gone", {})
