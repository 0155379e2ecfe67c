"""A variant from the YAML that the original trains with: for models that are not published.

Only what the reference implements is accepted; anything else is refused by its name, because a
setting that is ignored would give another model without a word.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import yaml

from vidtok_edge.bounded import read_at_most
from vidtok_edge.errors import CheckpointError
from vidtok_edge.variants import VARIANTS, Variant, levels_fault

__all__ = ["variant_from_config"]

LARGEST = 1 << 16  # bytes; a real one has 4,000
WIDEST = 4096
ENCODER = "model.params.encoder_config"
DECODER = "model.params.decoder_config"
REGULARIZER = "model.params.regularizer_config"
SAME_PARAMS = "${model.params.encoder_config.params}"

WITHOUT_EFFECT = ("dropout", "use_checkpoint", "fix_encoder", "fix_decoder")  # on inference
FIXED: Mapping[str, tuple[object, ...]] = {
    "in_channels": (3,),
    "out_ch": (3,),
    "norm_type": ("layernorm",),
    "init_pad_mode": ("replicate",),
    "resamp_with_conv": (True,),
}
"""What the reference implements of each key that it takes no value from. Left out means the same,
but for `norm_type`, which must be there."""
STRUCTURE = ("z_channels", "double_z", "ch", "ch_mult", "num_res_blocks", "interpolation_mode")
LEVELS = ("spatial_ds", "spatial_us", "tempo_ds", "tempo_us", "time_downsample_factor")
TRAINING_OF_FSQ = ("entropy_loss_", "commitment_loss_", "diversity_gamma")


def variant_from_config(path: str | Path) -> Variant:
    """The variant that the YAML file at `path` describes, named `custom_...` unless published.

    Raises:
        CheckpointError: no such file, no such YAML, or a setting that is not implemented; the
            message names it.
    """
    path = Path(path)
    root = _document(path)
    encoder, decoder = _at(path, root, ENCODER), _at(path, root, DECODER)
    params = _params(path, encoder, ENCODER)
    other = decoder.get("params", SAME_PARAMS)
    if other != SAME_PARAMS and other != params:
        raise _refused(path, f"{DECODER}.params", "params that differ from the encoder's")
    known = {*WITHOUT_EFFECT, *FIXED, *STRUCTURE, *LEVELS}
    for key in params:
        if key not in known:
            raise _refused(path, f"{ENCODER}.params.{key}", "a setting that is not known here")
    for key, values in FIXED.items():
        value = params.get(key, "groupnorm" if key == "norm_type" else values[0])
        if value not in values:
            raise _refused(path, f"{ENCODER}.params.{key}", f"{value!r} (only {values[0]!r} is)")
    version, causal = _structure(path, encoder, decoder)
    _check_interpolation(path, params, version)
    levels = _fsq_levels(path, _at(path, root, REGULARIZER))
    variant = _variant(path, params, version, causal, levels)
    return _published(variant) or replace(variant, name=_name(variant))


class _WithoutAliases(yaml.SafeLoader):  # type: ignore[misc]
    """Aliases of aliases stand for as much as one likes: 400 bytes for gigabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise ValueError("it has an alias (*), which is not read; write out what it stands for")
        return super().compose_node(parent, index)


def _document(path: Path) -> object:
    if not path.is_file():
        raise CheckpointError(
            f"There is no file {path}. Name the YAML that the model was trained with."
        )
    try:
        return yaml.load(read_at_most(path, LARGEST), _WithoutAliases)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{path} is not a YAML configuration: {reason}. Check it.") from error


def _at(path: Path, root: object, place: str) -> Mapping[str, Any]:
    found = root
    for name in place.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    if not isinstance(found, Mapping):
        raise CheckpointError(
            f"{path} has no {place}. Name the YAML that the original trains with."
        )
    return found


def _params(path: Path, section: Mapping[str, Any], place: str) -> Mapping[str, Any]:
    params = section.get("params") or {}
    if not isinstance(params, Mapping):
        raise _refused(path, f"{place}.params", f"{params!r}")
    return params


def _refused(path: Path, key: str, what: str) -> CheckpointError:
    return CheckpointError(
        f"{path}: {key} is {what}, which is not implemented. docs/model.md says what is."
    )


def _structure(
    path: Path, encoder: Mapping[str, Any], decoder: Mapping[str, Any]
) -> tuple[Literal["1.0", "1.1"], bool]:
    """Version and causality, which the names of the classes tell."""
    targets = {
        ("model_3dcausal", "Causal3DPadding"): ("1.0", True),
        ("model_3dcausal_v1_1", "Causal3DPadding"): ("1.1", True),
        ("model_3dnoncausal", "3D"): ("1.0", False),
    }
    found: set[tuple[str, bool]] = set()
    for kind, section in (("Encoder", encoder), ("Decoder", decoder)):
        target = str(section.get("target"))
        *_, module, name = ["", *target.split(".")]
        facts = targets.get((module, name.removeprefix(kind)))
        if facts is None or not name.startswith(kind):
            raise _refused(path, f"the target of the {kind.lower()}", repr(target))
        found.add(facts)
    if len(found) > 1:
        raise _refused(path, DECODER, "of another version than the encoder")
    version, causal = found.pop()
    return ("1.1" if version == "1.1" else "1.0"), causal


def _check_interpolation(path: Path, params: Mapping[str, Any], version: str) -> None:
    """v1.0 upsamples to the nearest frame, v1.1 linearly; the other way round is not there."""
    implemented = "trilinear" if version == "1.1" else "nearest"
    mode = params.get("interpolation_mode", "nearest")
    if mode != implemented:
        key = f"{ENCODER}.params.interpolation_mode"
        raise _refused(path, key, f"{mode!r} in a v{version} model (only {implemented!r} is)")


def _fsq_levels(path: Path, section: Mapping[str, Any]) -> tuple[int, ...]:
    """The levels of FSQ; empty for KL."""
    name = str(section.get("target")).rpartition(".")[2]
    if name == "DiagonalGaussianRegularizer":
        return ()
    if name != "FSQRegularizer":
        raise _refused(path, f"{REGULARIZER}.target", repr(section.get("target")))
    params = _params(path, section, REGULARIZER)
    for key in params:
        if key != "levels" and not str(key).startswith(TRAINING_OF_FSQ):
            raise _refused(path, f"{REGULARIZER}.params.{key}", "a setting that is not known here")
    levels = _numbers(path, f"{REGULARIZER}.params.levels", params.get("levels"), 2)
    if fault := levels_fault(levels):
        raise _refused(path, f"{REGULARIZER}.params.levels", f"{list(levels)} ({fault})")
    return levels


def _variant(
    path: Path,
    params: Mapping[str, Any],
    version: Literal["1.0", "1.1"],
    causal: bool,
    levels: tuple[int, ...],
) -> Variant:
    place = f"{ENCODER}.params."

    def number(key: str) -> int:
        return _numbers(path, place + key, [params.get(key)], 1)[0]

    ch_mult = _numbers(path, place + "ch_mult", params.get("ch_mult"), 1)
    count = len(ch_mult)

    def level_set(key: str, default: tuple[int, ...]) -> tuple[int, ...]:
        numbers = _numbers(path, place + key, params.get(key, list(default)), 0)
        if len(set(numbers)) < len(numbers) or max(numbers) >= count:
            raise _refused(path, place + key, f"{list(numbers)} in a model of {count} levels")
        return tuple(sorted(numbers))

    if count < 3:
        raise _refused(path, place + "ch_mult", f"{list(ch_mult)}, fewer than three levels")
    z = number("z_channels")
    variant = Variant(
        "",
        version,
        causal,
        "fsq" if levels else "kl",
        z,
        levels=levels,
        ch=number("ch"),
        ch_mult=ch_mult,
        num_res_blocks=number("num_res_blocks"),
        spatial_down=level_set("spatial_ds", tuple(range(count - 1))),
        temporal_down=level_set("tempo_ds", (count - 3, count - 2)),
        spatial_up=level_set("spatial_us", tuple(range(1, count))),
        temporal_up=level_set("tempo_us", (1, 2)),
    )
    _check_whole(path, params, variant)
    return variant


def _check_whole(path: Path, params: Mapping[str, Any], variant: Variant) -> None:
    """Settings that must agree with one another."""
    place = f"{ENCODER}.params."
    if variant.levels and len(variant.levels) != variant.z_channels:
        what = f"{variant.z_channels} with {len(variant.levels)} levels"
        raise _refused(path, place + "z_channels", what)
    if params.get("double_z", True) is not (variant.latent == "kl"):
        raise _refused(path, place + "double_z", f"not as {variant.latent} needs it")
    if params.get("time_downsample_factor", variant.time_factor) != variant.time_factor:
        what = f"{params['time_downsample_factor']!r} with tempo_ds {list(variant.temporal_down)}"
        raise _refused(path, place + "time_downsample_factor", what)
    for space, time, key in (
        (variant.spatial_down, variant.temporal_down, "tempo_ds"),
        (variant.spatial_up, variant.temporal_up, "tempo_us"),
    ):
        if not set(time) <= set(space):
            raise _refused(path, place + key, f"{list(time)} beyond the spatial levels")
    if len(variant.spatial_up) != len(variant.spatial_down):
        raise _refused(path, place + "spatial_us", "of another length than spatial_ds")
    if len(variant.temporal_up) != len(variant.temporal_down):
        raise _refused(path, place + "tempo_us", "of another length than tempo_ds")


def _numbers(path: Path, key: str, value: object, least: int) -> tuple[int, ...]:
    """A list of whole numbers from `least` on."""
    numbers = value if isinstance(value, list) else []
    good = all(type(n) is int and least <= n <= WIDEST for n in numbers)
    if not numbers or len(numbers) > 64 or not good:
        raise _refused(path, key, f"{value!r} (whole numbers from {least} to {WIDEST} are)")
    return tuple(numbers)


def _published(variant: Variant) -> Variant | None:
    """The published variant of this configuration."""
    matching = [v for v in VARIANTS.values() if replace(v, name="") == variant]
    return matching[0] if matching else None


def _name(variant: Variant) -> str:
    """As published ones are named, and `custom`; the width is part of it."""
    causal = "causal" if variant.causal else "noncausal"
    size = variant.codebook_size or f"{variant.z_channels}chn"
    s = variant.space_factor
    version = "_v1_1" if variant.version == "1.1" else ""
    factors = f"{variant.time_factor}{s}{s}"
    return f"custom_{variant.latent}_{causal}_{factors}_{size}_ch{variant.ch}{version}"
