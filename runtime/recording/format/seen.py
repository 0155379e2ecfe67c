"""Messages that lie in a file twice, side by side."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from vidtok_edge.errors import MissingDependency

try:
    from mcap.records import Message
except ImportError:
    raise MissingDependency("mcap", "record", "A recording") from None

__all__ = ["Seen"]

_Owner = Callable[[], Hashable]
_Key = tuple[Hashable, int, bytes]
_MOST = 1 << 10  # messages of one time


class Seen:
    """The messages of the last time that was read, as far as they are held."""

    def __init__(self, before: Seen | None = None) -> None:
        self._first: Message | None = None if before is None else before._first
        self._owner: _Owner = (lambda: None) if before is None else before._owner
        self._others: set[_Key] = set() if before is None else {*before._others}

    def again(self, message: Message, owner: _Owner) -> bool:
        """Whether a message was seen with this owner, number, time and contents.

        Args:
            owner: gives whose it is, None: nobody's who matters; called only where others have the
                same time.
        """
        if self._first is None or message.log_time != self._first.log_time:
            self._first, self._owner, self._others = message, owner, set()
            return False
        if (own := owner()) is None:
            return False
        first, key = self._first, (own, message.sequence, message.data)
        if key in self._others or key == (self._owner(), first.sequence, first.data):
            return True
        if len(self._others) < _MOST:
            self._others.add(key)
        return False
