"""Latencies: their figures, by percentile, and how often each occurred."""

from __future__ import annotations

from dataclasses import dataclass

from vidtok_edge.runtime.bench.requirement import require

__all__ = ["Curve", "Histogram", "Latency"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Figures over `n` latents, in milliseconds; None for what so few cannot tell."""

    n: int
    mean_ms: float | None
    p50_ms: float | None
    p90_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    p99_9_ms: float | None
    min_ms: float | None
    max_ms: float | None
    jitter_ms: float | None
    """Mean absolute difference between the latencies of consecutive latents of one stream."""
    deadline_ms: float
    misses: int
    """Latents later than the deadline."""
    longest_run: int
    """Most consecutive latents of one stream that missed it."""

    def percentiles(self) -> dict[str, float | None]:
        """By the names that people use: `p50` to `p99.9`, and `max`."""
        return {
            "p50": self.p50_ms,
            "p90": self.p90_ms,
            "p95": self.p95_ms,
            "p99": self.p99_ms,
            "p99.9": self.p99_9_ms,
            "max": self.max_ms,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Latency by percentile, as far as so many latents can tell."""

    told: float
    """The highest share that they can tell."""
    shares: tuple[float, ...]
    """Of the latents that are faster, rising, below 1."""
    latency_ms: tuple[float, ...]
    """The next one's, which occurred."""

    def __post_init__(self) -> None:
        require(len(self.shares) == len(self.latency_ms) > 0, "shares and latencies are not pairs")
        require(all(0 <= share < 1 for share in (*self.shares, self.told)), "a share is below 1")
        require(all(value >= 0 for value in self.latency_ms), "a latency is negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """How often each latency occurred, of all candidates in the same intervals."""

    logarithmic: bool
    edges_ms: tuple[float, ...]
    shares: tuple[tuple[float, ...], ...]
    """Of each candidate's latents, by interval; empty where it has too few."""

    def __post_init__(self) -> None:
        bins, low = len(self.edges_ms) - 1, self.edges_ms[0] if self.edges_ms else -1.0
        rising = all(a < b for a, b in zip(self.edges_ms, self.edges_ms[1:], strict=False))
        require(bins > 0 and rising, "the edges do not rise")
        require(low > 0 if self.logarithmic else low >= 0, "the first edge is too low")
        require(all(len(one) in (0, bins) for one in self.shares), "a share for each interval")
        require(all(0 <= share <= 1 for one in self.shares for share in one), "shares are 0 to 1")
