"""One frozen description per published model: nobody else asks "which variant?".

docs/model.md, section 1 explains and shows them.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from types import MappingProxyType
from typing import Any, Literal

from vidtok_edge.errors import UnknownVariant, UnsupportedSize, UsageError

__all__ = [
    "EMBEDDED",
    "SHORT_NAMES",
    "VARIANTS",
    "Variant",
    "levels_fault",
    "twins_of",
    "variant_by_name",
    "variant_named_in",
]

MOST_LEVELS = 1000
MOST_TOKENS = 1 << 31


@dataclass(frozen=True, slots=True)
class Variant:
    """One model configuration. `dataclasses.replace(variant, ch=32)` makes a narrow copy.

    Levels count from 0, the finest. `spatial_down` and its three siblings name the levels after
    which the encoder halves, or the decoder doubles, space or time.
    """

    name: str
    version: Literal["1.0", "1.1"]
    causal: bool
    latent: Literal["fsq", "kl"]
    z_channels: int
    levels: tuple[int, ...] = ()
    ch: int = 128
    ch_mult: tuple[int, ...] = (1, 2, 4, 4)
    num_res_blocks: int = 2
    spatial_down: tuple[int, ...] = (0, 1, 2)
    temporal_down: tuple[int, ...] = (1, 2)
    spatial_up: tuple[int, ...] = (1, 2, 3)
    temporal_up: tuple[int, ...] = (1, 2)

    @property
    def time_factor(self) -> int:
        """f, the frames that one latent stands for."""
        return 1 << len(self.temporal_down)

    @property
    def space_factor(self) -> int:
        """Pixels per latent, along each of height and width."""
        return 1 << len(self.spatial_down)

    @property
    def encoder_channels(self) -> int:
        """Channels that the encoder emits: z, or mean and logvar."""
        return self.z_channels if self.latent == "fsq" else 2 * self.z_channels

    @property
    def codebook_size(self) -> int:
        """Number of different tokens; 0 for KL."""
        return prod(self.levels) if self.levels else 0

    @property
    def repeat_first(self) -> bool:
        """True where the past of the first frame is that frame (v1.1), not zeros."""
        return self.version == "1.1"

    @property
    def linear(self) -> bool:
        """True where the decoder upsamples linearly in time (v1.1), not to the nearest."""
        return self.version == "1.1"

    @property
    def delayed(self) -> bool:
        """True where the streaming decoder is f - 1 frames late: it is causal, and linear."""
        return self.causal and self.linear

    @property
    def window(self) -> int:
        """Frames the original feeds at a time: kf + 1 for causal models, kf for the others."""
        return 17 if self.causal else 16

    @property
    def promise(self) -> str:
        """What the variant guarantees about streaming (docs/streaming.md, section 1.1)."""
        if not self.causal:
            return (
                "windows: no streaming; whole windows of 16 frames, each as the whole-clip model "
                "computes it, with seams between them"
            )
        late = f", {self.time_factor - 1} frames late" if self.delayed else ""
        return (
            f"exact: streaming encode = whole-clip encode of kf+1 frames (f = {self.time_factor}), "
            f"streaming decode = whole-clip decode{late}, whatever the chunk plan"
        )

    def check(self) -> None:
        """Raise `UsageError` where there is no such model: facts that contradict one another."""
        if fault := levels_fault(self.levels):
            raise UsageError(f"{self.name} has levels {list(self.levels)}: {fault}.")
        wanted = self.z_channels if self.latent == "fsq" else 0
        if len(self.levels) != wanted:
            raise UsageError(
                f"{self.name} has {len(self.levels)} FSQ levels; {self.latent} with "
                f"{self.z_channels} z_channels has {wanted}."
            )
        if min(self.ch, self.num_res_blocks, self.z_channels, *self.ch_mult) < 1:
            raise UsageError(
                f"{self.name} has ch {self.ch}, ch_mult {self.ch_mult}, num_res_blocks "
                f"{self.num_res_blocks}, z_channels {self.z_channels}; all must be 1 or more."
            )
        for way, space, time in (
            ("down", self.spatial_down, self.temporal_down),
            ("up", self.spatial_up, self.temporal_up),
        ):
            there = range(len(self.ch_mult))
            ordered = all(list(s) == sorted(set(s)) for s in (space, time))
            if not (ordered and set(time) <= set(space) <= set(there)):
                raise UsageError(
                    f"{self.name} has spatial_{way} {space} and temporal_{way} {time}; allowed: "
                    f"levels of 0 to {len(there) - 1} in order, each once, in time no others than "
                    "in space."
                )
        if (len(self.spatial_down), len(self.temporal_down)) != (
            len(self.spatial_up),
            len(self.temporal_up),
        ):
            raise UsageError(f"{self.name} does not go up as often as it goes down.")

    def check_size(self, height: int, width: int) -> None:
        """Raise `UnsupportedSize` unless the space factor divides both sides, in pixels."""
        s = self.space_factor
        if height <= 0 or width <= 0 or height % s or width % s:
            sizes = zip(_around(height, s), _around(width, s), strict=True)
            near = " or ".join(dict.fromkeys(f"{h}x{w}" for h, w in sizes))
            raise UnsupportedSize(
                f"{self.name} works on frames whose height and width are multiples of {s}, "
                f"got {height}x{width} (HxW). Use {near}, or resize the frames."
            )


def levels_fault(levels: tuple[int, ...]) -> str:
    """Why tokens cannot have `levels`; empty where they can, and for KL, which has none.

    FSQ stretches a level's range by 1e-3, so from 1001 levels on what saturates rounds to a level
    that is not there, and its token is another's (docs/model.md, section 4.1).
    """
    if any(not 2 <= n <= MOST_LEVELS for n in levels):
        return f"allowed are from 2 to {MOST_LEVELS} of each"
    if prod(levels) > MOST_TOKENS:
        return f"{prod(levels)} different tokens; allowed are up to {MOST_TOKENS}"
    return ""


def _around(pixels: int, factor: int) -> tuple[int, int]:
    """The multiples of `factor` at or below, and at or above, `pixels`; never 0."""
    below, above = pixels // factor * factor, -(-pixels // factor) * factor
    return max(factor, below), max(factor, above)


def _fsq(name: str, z: int, **rest: Any) -> Variant:
    return Variant(name, _version(name), "_causal_" in name, "fsq", z, levels=(8,) * z, **rest)


def _kl(name: str, z: int, **rest: Any) -> Variant:
    return Variant(name, _version(name), "_causal_" in name, "kl", z, **rest)


def _version(name: str) -> Literal["1.0", "1.1"]:
    return "1.1" if name.endswith("_v1_1") else "1.0"


_41616 = {
    "ch_mult": (1, 2, 4, 4, 4),
    "spatial_down": (0, 1, 2, 3),
    "temporal_down": (2, 3),
    "spatial_up": (1, 2, 3, 4),
}
_288 = {"temporal_down": (1,), "temporal_up": (2,)}
_444 = {"spatial_down": (1, 2), "spatial_up": (1, 2)}
_888 = {"temporal_down": (0, 1, 2), "temporal_up": (1, 2, 3)}

EMBEDDED = _fsq(
    "vidtok_fsq_causal_488_32768_tiny", 5, ch=16, ch_mult=(1, 1, 2, 6), num_res_blocks=1
)
"""The small tokenizer that ships with the package; not one of the published models."""

VARIANTS: Mapping[str, Variant] = MappingProxyType(
    {
        variant.name: variant
        for variant in (
            _fsq("vidtok_fsq_causal_488_4096", 4),
            _fsq("vidtok_fsq_causal_488_32768", 5),
            _fsq("vidtok_fsq_causal_488_262144", 6),
            _fsq("vidtok_fsq_causal_41616_262144", 6, **_41616),
            _fsq("vidtok_fsq_noncausal_488_262144", 6),
            _fsq("vidtok_fsq_noncausal_41616_262144", 6, **_41616),
            _kl("vidtok_kl_causal_488_4chn", 4),
            _kl("vidtok_kl_causal_488_8chn", 8),
            _kl("vidtok_kl_causal_488_16chn", 16),
            _kl("vidtok_kl_causal_288_8chn", 8, **_288),
            _kl("vidtok_kl_causal_444_4chn", 4, **_444),
            _kl("vidtok_kl_causal_41616_4chn", 4, **_41616),
            _kl("vidtok_kl_noncausal_488_4chn", 4),
            _kl("vidtok_kl_noncausal_488_16chn", 16),
            _kl("vidtok_kl_noncausal_41616_4chn", 4, **_41616),
            _kl("vidtok_kl_noncausal_41616_16chn", 16, **_41616),
            _fsq("vidtok_fsq_causal_488_32768_v1_1", 5),
            _fsq("vidtok_fsq_causal_888_32768_v1_1", 5, **_888),
            _fsq("vidtok_fsq_causal_41616_262144_v1_1", 6, **_41616),
            _kl("vidtok_kl_causal_488_4chn_v1_1", 4),
            _kl("vidtok_kl_causal_488_16chn_v1_1", 16),
            _kl("vidtok_kl_causal_288_8chn_v1_1", 8, **_288),
            _kl("vidtok_kl_causal_41616_16chn_v1_1", 16, **_41616),
            EMBEDDED,
        )
    }
)
"""The 23 published models and the embedded one, by name."""

SHORT_NAMES: Mapping[str, str] = MappingProxyType(
    {"fsq": "vidtok_fsq_causal_488_32768_v1_1", "kl": "vidtok_kl_causal_488_16chn_v1_1"}
)
"""What `fsq` and `kl` stand for where official weights are asked for."""


def variant_by_name(name: str) -> Variant:
    """The variant called `name`, a full or a short one; `UnknownVariant` suggests the closest."""
    variant = VARIANTS.get(SHORT_NAMES.get(name, name))
    if variant is None:
        names = [*VARIANTS, *SHORT_NAMES]
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.4) or list(SHORT_NAMES)
        raise UnknownVariant(
            f"There is no variant {name!r}. Did you mean {' or '.join(near)}? "
            "`vidtok-edge variants` lists all of them."
        )
    return variant


def twins_of(variant: Variant) -> tuple[Variant, ...]:
    """The other variants of `VARIANTS` whose weights have the same keys and shapes.

    Version and levels leave no mark in a checkpoint: nothing in it tells twins apart.
    """
    mark = _marked_by_weights(variant)
    return tuple(
        other
        for name, other in VARIANTS.items()
        if name != variant.name and _marked_by_weights(other) == mark
    )


def _marked_by_weights(variant: Variant) -> Variant:
    """`variant` without what its weights do not show; as many levels are as many channels."""
    return replace(variant, name="", version="1.0", levels=())


def variant_named_in(file_name: str) -> Variant | None:
    """The variant whose full name stands in `file_name`, the longest one; None where none does.

    `-`, `.` and blanks count as `_`, so that `vidtok_kl_causal_488_4chn-v1.1.ckpt` is v1.1.
    """
    plain = re.sub(r"[-.\s]", "_", file_name.lower())
    found = [name for name in VARIANTS if re.search(rf"(?<![a-z0-9]){name}(?![a-z0-9])", plain)]
    return VARIANTS[max(found, key=len)] if found else None
