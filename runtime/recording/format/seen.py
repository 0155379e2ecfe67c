"""Messages that lie in a file twice, side by side."""

from __future__ import annotations

from collections.abc import Callable

from vidtok_edge.errors import MissingDependency

try:
    from mcap.records import Message
except ImportError:
    raise MissingDependency("mcap", "record", "A recording") from None

__all__ = ["Seen"]

_MOST = 1 << 10  # messages of one time


class Seen:
    """The messages of the last time that was read, as far as they are held."""

    def __init__(self, before: Seen | None = None) -> None:
        self._first: Message | None = None if before is None else before._first
        self._others: set[tuple[int, int, bytes]] = set() if before is None else {*before._others}

    def again(self, message: Message, asked: Callable[[], bool]) -> bool:
        """Whether a message was seen with this channel, number, time and contents.

        Args:
            asked: whether it matters; called only where others have the same time.
        """
        if self._first is None or message.log_time != self._first.log_time:
            self._first, self._others = message, set()
            return False
        if not asked():
            return False
        first, key = self._first, (message.channel_id, message.sequence, message.data)
        if key == (first.channel_id, first.sequence, first.data) or key in self._others:
            return True
        if len(self._others) < _MOST:
            self._others.add(key)
        return False
