"""Where frames come from: files, folders, cameras, pipes, arrays; and what captures them."""

from vidtok_edge.runtime.sources.arrays import ArraySource
from vidtok_edge.runtime.sources.capture import Captures, Policy, Retry
from vidtok_edge.runtime.sources.events import (
    Captured,
    Closed,
    Dropped,
    Ended,
    Event,
    Lost,
    Opened,
)
from vidtok_edge.runtime.sources.frame import Frame, RawFormat, Source
from vidtok_edge.runtime.sources.opening import open_source

__all__ = [
    "ArraySource",
    "Captured",
    "Captures",
    "Closed",
    "Dropped",
    "Ended",
    "Event",
    "Frame",
    "Lost",
    "Opened",
    "Policy",
    "RawFormat",
    "Retry",
    "Source",
    "open_source",
]
