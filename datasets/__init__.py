"""Recordings, and what was exported of them, as PyTorch datasets of windows of latents.

`TokenWindows` is map-style, `WindowSampler` shuffles it; `TokenStream` is iterable. See
docs/training.md.
"""

from vidtok_edge.errors import MissingDependency

try:
    import torch  # noqa: F401  # what needs it is below; said once, with the line that mends it
except ImportError:
    raise MissingDependency("torch", "export", "A PyTorch dataset") from None

from vidtok_edge.datasets.sampler import WindowSampler
from vidtok_edge.datasets.stream import TokenStream
from vidtok_edge.datasets.token_windows import TokenWindows
from vidtok_edge.runtime.recording.exports.set_facts import SetFacts

__all__ = ["SetFacts", "TokenStream", "TokenWindows", "WindowSampler"]
