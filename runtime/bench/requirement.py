"""What has to be so in a document that holds together."""

from __future__ import annotations

__all__ = ["require"]


def require(holds: bool, what: str) -> None:
    """Raise ValueError where it is not so; `what` says how it fails, or what is asked for."""
    if not holds:
        raise ValueError(what)
