"""Any model that streams: what a property of streaming is tried over."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

__all__ = ["kinds", "quick", "sizes"]

kinds: Any = st.sampled_from(
    [
        {"causal": True, "version": "1.0"},
        {"causal": True, "version": "1.1"},
        {"causal": False, "version": "1.0"},
    ]
)
"""Arguments of `fake_step.fake_manifest`."""
sizes = st.tuples(st.sampled_from([2, 4, 8]), st.integers(1, 4))
"""Frames per latent, latents per chunk."""
quick = settings(max_examples=150)
