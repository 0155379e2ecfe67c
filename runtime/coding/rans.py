"""Range coding of symbols by an asymmetric numeral system.

All symbols are held in one number x from 2^32 to below 2^48. It takes a symbol of frequency f and
start s out of 2^14 by x -> (x // f) * 2^14 + x % f + s, and where x would pass 2^48 its low 16 bits
go out as a word before. Decoding goes the other way, so encoding begins with the last symbol, and x
with 2^32 and a checksum. What is written is x, in as few bytes as hold it, and then the words.

It is a loop in Python: of 5,120 symbols it takes as long as steps of 32 numbers at once take in
NumPy, and each of these would cost 4 bits. Numbers below 2^60 are the ones that Python is quick at.

Source: J. Duda, "Asymmetric numeral systems" (2013).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np

__all__ = ["BITS", "CHECK_BITS", "Decoder", "encode"]

BITS = 14
"""Of a frequency: those of all symbols at a place add up to 2^14."""
CHECK_BITS = 32
_TOTAL, _LOW = 1 << BITS, 1 << CHECK_BITS
_WORD_BITS = 16
_HIGH_BYTES = CHECK_BITS // 8 + 1  # of x at least


def encode(starts: Sequence[int], freqs: Sequence[int], check: int) -> bytes:
    """The bytes of symbols with these starts and frequencies, in the order of decoding.

    Args:
        check: 32 bits that `Decoder.finish` gives back.
    """
    x = _LOW + check
    words: list[int] = []
    limit_bits, mask = CHECK_BITS + _WORD_BITS - BITS, (1 << _WORD_BITS) - 1
    for start, freq in zip(reversed(starts), reversed(freqs), strict=True):
        if x >= freq << limit_bits:
            words.append(x & mask)
            x >>= _WORD_BITS
        x += (x // freq) * (_TOTAL - freq) + start  # (x // f) * total + x % f + start
    size = (x.bit_length() + 7) // 8
    return x.to_bytes(size, "little") + np.array(words[::-1], "<u2").tobytes()


class Decoder:
    """Gives the symbols of `encode` back. ValueError: it is not what `encode` wrote."""

    def __init__(self, data: bytes) -> None:
        size = _HIGH_BYTES + (len(data) - _HIGH_BYTES) % 2
        self._x = int.from_bytes(data[:size], "little")
        if len(data) < size or self._x >> 8 * (size - 1) == 0:
            raise ValueError(f"{len(data)} bytes do not begin with a number of 2^32 or more")
        self._words: list[int] = np.frombuffer(data[size:], "<u2")[::-1].tolist()

    def take(self, bounds: Sequence[int], count: int) -> list[int]:
        """Places in `bounds` of the symbols that come next.

        Args:
            bounds: for each symbol the starts of all that it may be, and 2^14.
            count: how many numbers that is for each.
        """
        x, words, mask = self._x, self._words, _TOTAL - 1
        found = []
        for first in range(0, len(bounds), count):
            slot = x & mask
            at = bisect_right(bounds, slot, first, first + count)
            start = bounds[at - 1]
            x = (bounds[at] - start) * (x >> BITS) + slot - start
            if x < _LOW:
                if not words:
                    raise ValueError("the words end before the symbols")
                x = x << _WORD_BITS | words.pop()
            found.append(at - 1)
        self._x = x
        return found

    def finish(self) -> int:
        """The check. ValueError: the words do not end where the symbols do."""
        if self._words or self._x >> CHECK_BITS != 1:
            raise ValueError("the words do not end where the symbols do")
        return self._x - _LOW
