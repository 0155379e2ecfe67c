"""Which frames a latent stands for, and which of a decoder's frames to keep.

docs/streaming.md, section 2 and docs/streaming.md, section 5.4.
"""

from __future__ import annotations

from dataclasses import dataclass

from vidtok_edge.runtime.manifest.model import ModelFacts

__all__ = ["Framing"]


@dataclass(frozen=True, slots=True)
class Framing:
    """The frame arithmetic of one model.

    Causal: latent 0 stands for frame 0 alone, latent i >= 1 for frames f(i-1)+1 .. fi. Non-causal:
    latent i stands for frames fi .. f(i+1)-1.
    """

    time_factor: int
    causal: bool
    delayed: bool
    """v1.1 causal: the decoder is f - 1 frames late and needs an `end` call."""

    @classmethod
    def of(cls, model: ModelFacts) -> Framing:
        """The framing of a bundle's model."""
        return cls(model.time_factor, model.causal, model.delayed)

    @property
    def lead_in(self) -> int:
        """How often a stream's first frame is fed: f times where latent 0 stands for it alone."""
        return self.time_factor if self.causal else 1

    def first_frame(self, latent: int) -> int:
        """Number of the first frame that `latent` stands for.

        >>> [Framing(4, causal=True, delayed=False).first_frame(i) for i in range(4)]
        [0, 1, 5, 9]
        """
        f = self.time_factor
        return max(0, f * (latent - 1) + 1) if self.causal else f * latent

    def share(self, latent: int, frames: int | None = None) -> range:
        """Numbers of the frames that `latent` stands for; of a stream of `frames`, the real ones.

        >>> framing = Framing(4, causal=True, delayed=False)
        >>> [framing.share(i) for i in range(3)], framing.share(2, frames=7)
        ([range(0, 1), range(1, 5), range(5, 9)], range(5, 7))
        """
        first, end = self.first_frame(latent), self.first_frame(latent + 1)
        return range(first, end) if frames is None else range(min(first, frames), min(end, frames))

    def latents(self, frames: int) -> int:
        """How many latents stand for the first `frames` frames, the last one perhaps in part.

        >>> [Framing(4, causal=True, delayed=False).latents(n) for n in (0, 1, 2, 5, 6)]
        [0, 1, 2, 2, 3]
        """
        f = self.time_factor
        if not self.causal:
            return -(-frames // f)
        return 0 if frames == 0 else 1 + -(-(frames - 1) // f)

    def frame_of_output(self, raw: int) -> int | None:
        """Which video frame the decoder's output frame number `raw` of a stream is; None: drop it.

        >>> framing = Framing(4, causal=True, delayed=True)
        >>> [framing.frame_of_output(i) for i in range(10)]
        [None, None, None, 0, None, None, None, 1, 2, 3]
        """
        f = self.time_factor
        if not self.causal:
            return raw
        if not self.delayed:
            return raw - (f - 1) if raw >= f - 1 else None
        if raw == f - 1:
            return 0
        return raw - (2 * f - 2) if raw >= 2 * f - 1 else None
