"""Which tokenizer wrote a recording: what must be equal before its latents are decoded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from math import prod
from typing import Any, Literal

from vidtok_edge import __version__
from vidtok_edge.errors import RecordingError
from vidtok_edge.runtime.bundle import Bundle
from vidtok_edge.runtime.coding.packing import bits_for, packed_size
from vidtok_edge.runtime.manifest.identity import differing, identity, weights_named
from vidtok_edge.runtime.manifest.model import ModelFacts
from vidtok_edge.runtime.manifest.strings import from_strings, to_strings
from vidtok_edge.runtime.streaming.framing import Framing

__all__ = ["Tokenizer"]

_LARGEST = {
    "height": 1 << 14,
    "width": 1 << 14,
    "time_factor": 64,
    "z_channels": 256,
    "grid_height": 1 << 14,
    "grid_width": 1 << 14,
    "window": 1 << 12,
}
_MOST_LEVELS = 32
_NOT_COMPARED = ("precision", "toolkit_version")


@dataclass(frozen=True, kw_only=True)  # no slots: `model` is kept, as every latent asks for it
class Tokenizer:
    """The fingerprint in a recording's channel metadata.

    `height` and `width` are pixels, `grid_height` and `grid_width` those of a latent; `levels` is
    empty for KL. Raises RecordingError when the parts do not fit each other.
    """

    variant: str
    weights_sha256: str
    precision: str
    """Of the encoder."""
    height: int
    width: int
    grid_height: int
    grid_width: int
    time_factor: int
    causal: bool
    latent: Literal["fsq", "kl"]
    levels: tuple[int, ...]
    z_channels: int
    toolkit_version: str
    window: int = 1
    """Latents that are decoded together; a causal tokenizer decodes one after another."""

    def __post_init__(self) -> None:
        for name, largest in _LARGEST.items():
            if not 1 <= getattr(self, name) <= largest:
                raise _wrong(name, getattr(self, name), f"1 to {largest}")
        if len(self.levels) > _MOST_LEVELS or not self.model.levels_fit:
            raise _wrong("levels", self.levels, f"what fits {self.latent}, up to {_MOST_LEVELS}")
        if self.codebook_size > 1 << 31:
            raise _wrong("codebook_size", self.codebook_size, "up to 2^31")
        if self.causal and self.window != 1:
            raise _wrong("window", self.window, "1, as it is causal")
        if self.height % self.grid_height or self.width % self.grid_width:
            raise _wrong(
                "grid",
                f"{self.grid_height}x{self.grid_width}",
                f"whole parts of {self.height}x{self.width}",
            )

    @classmethod
    def of(cls, bundle: Bundle, precision: str | None = None) -> Tokenizer:
        """The tokenizer of a bundle; `precision` of its encoder, the bundle's first where None."""
        graph = bundle.manifest.graph("encoder", precision)
        facts: Any = identity(bundle.manifest)
        return cls(**facts, precision=graph.precision, toolkit_version=__version__)

    @cached_property
    def model(self) -> ModelFacts:
        """What a recording says of the model; not its version."""
        return ModelFacts(
            variant=self.variant,
            version=None,
            causal=self.causal,
            latent=self.latent,
            levels=self.levels,
            z_channels=self.z_channels,
            time_factor=self.time_factor,
            space_factor=self.height // self.grid_height,
        )

    @property
    def codebook_size(self) -> int:
        """Number of different tokens; 0 for KL."""
        return self.model.codebook_size

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one latent: (h, w) tokens, or (z, h, w) values."""
        return self.model.shape((self.grid_height, self.grid_width))

    @property
    def bits(self) -> int:
        """Of one stored value: a token's width, or 16 for KL."""
        return bits_for(self.codebook_size) if self.latent == "fsq" else 16

    @property
    def latent_bytes(self) -> int:
        """Bytes of one stored latent, without its header."""
        return packed_size(prod(self.shape), self.bits)

    @property
    def digits(self) -> int:
        """Of one latent; 0 for KL."""
        return prod(self.shape) * len(self.levels)

    @property
    def framing(self) -> Framing:
        """Which frames a latent stands for. For counting only: `delayed` is not known here."""
        return Framing.of(self.model)

    @property
    def compared(self) -> dict[str, Any]:
        """What must be equal where latents are used together: all but precision and toolkit."""
        return {n: value for n, value in asdict(self).items() if n not in _NOT_COMPARED}

    def __str__(self) -> str:
        return (
            f"{self.variant}, weights {weights_named(self.weights_sha256)}, "
            f"{self.height}x{self.width}"
        )

    def require_decodable_by(self, bundle: Bundle) -> None:
        """RecordingError unless `bundle` is of this tokenizer; precision may differ."""
        differ = differing(self.compared, identity(bundle.manifest))
        if differ:
            raise RecordingError(
                f"The recording was written by {self}; the bundle is {Tokenizer.of(bundle)}. They "
                f"differ in {', '.join(differ)}. Decode it with a bundle of the tokenizer that "
                "wrote it."
            )

    def to_map(self) -> dict[str, str]:
        """As strings, for the metadata of a channel; with what a reader can work out besides."""
        return {
            **to_strings(asdict(self)),
            "codebook_size": str(self.codebook_size),
            "bits_per_value": str(self.bits),
            "frames_of_latent": self._frames_in_words(),
        }

    @classmethod
    def from_map(cls, facts: Mapping[str, str]) -> Tokenizer:
        """Read what `to_map` wrote. Raises RecordingError."""
        try:
            return from_strings(cls, facts)
        except ValueError as error:
            raise RecordingError(f"the tokenizer's metadata is damaged: {error}") from None

    def _frames_in_words(self) -> str:
        f = self.time_factor
        if self.causal:
            return (
                f"latent 0 of a stream stands for frame 0; latent i >= 1 for frames "
                f"{f}*(i-1)+1 to {f}*i"
            )
        return f"latent i of a stream stands for frames {f}*i to {f}*i+{f - 1}"


def _wrong(name: str, got: object, allowed: str) -> RecordingError:
    return RecordingError(f"the tokenizer's {name} is {got!r}; allowed: {allowed}")
