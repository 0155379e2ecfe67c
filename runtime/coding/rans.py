"""Range coding of whole groups of symbols: asymmetric numeral systems, many lanes at once.

A lane is a whole number from 2^16 to below 2^32. It takes a symbol of frequency f and start s of
2^14 by x -> (x // f) * 2^14 + x % f + s, and where x would pass 2^32 its low 16 bits go out as a
word before. Decoding goes the other way, so encoding begins with the last symbol.

A lane costs 16 bits that say nothing: it has to begin with 2^16 at least. They are made to say
something. The last symbols have four lanes, which begin with the bits of a checksum; those before
them have 32, which begin with the first 32 words that the four made; and so on (`parts`). What a
lane ends with is written by its length in bits, which is anything from 17 to 32.

Everything is whole numbers below 2^63. Source: J. Duda, "Asymmetric numeral systems" (2013);
interleaving: F. Giesen, "Interleaved entropy coders" (2014).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["BITS", "CHECK_BITS", "Decoder", "encode", "parts"]

BITS = 14
"""Of a frequency: those of all symbols at a place add up to 2^14."""
CHECK_BITS = 32
_TOTAL, _LOW = 1 << BITS, 1 << 16
_PARTS = ((384, 4), (8192, 32))  # up to so many symbols before the end: lanes
_MOST_LANES = 256

_POWERS = 1 << np.arange(17)
_FOUR, _SIXTEEN = np.arange(3, -1, -1), np.arange(15, -1, -1)

Longs = NDArray[np.int64]


def parts(count: int) -> list[tuple[int, int]]:
    """End and lanes of each part of `count` symbols, in the order of decoding.

    >>> parts(5120)
    [(4736, 32), (5120, 4)]
    >>> parts(24)
    [(24, 4)]
    """
    found, end = [], count
    for distance, lanes in _PARTS:
        found.append((end, lanes))
        end = max(0, count - distance)
        if not end:
            break
    else:
        found.append((end, _MOST_LANES))
    return found[::-1]


def _steps(groups: Sequence[int], begin: int, end: int, lanes: int) -> Iterator[tuple[int, int]]:
    """Symbols that are coded at once: of one group and one part, a lane each."""
    at = 0
    for size in groups:
        first, last = max(at, begin), min(at + size, end)
        for one in range(first, last, lanes):
            yield one, min(one + lanes, last)
        at += size


def encode(starts: Longs, freqs: Longs, groups: Sequence[int], check: int) -> bytes:
    """The bytes of symbols with these starts and frequencies.

    Args:
        groups: how many symbols are decoded together, one group after another.
        check: 32 bits that `Decoder.finish` gives back.
    """
    stream = np.array([check & 0xFFFF, check >> 16], np.int64)
    bounds = parts(len(starts))
    for number in reversed(range(len(bounds))):
        end, lanes = bounds[number]
        begin = bounds[number - 1][0] if number else 0
        seeds, stream = stream[:lanes], stream[lanes:]
        states = np.full(lanes, _LOW, np.int64)
        states[: len(seeds)] += seeds
        steps = list(_steps(groups, begin, end, lanes))
        words = _encoded(states, starts, freqs, steps)
        stream = np.concatenate([_words_from_states(states), *reversed(words), stream])
    return stream.astype("<u2").tobytes()


def _encoded(
    states: Longs, starts: Longs, freqs: Longs, steps: Sequence[tuple[int, int]]
) -> list[Longs]:
    """The words that go out, those of the last steps first; `states` is changed."""
    words: list[Longs] = []
    limits, gains = freqs << (32 - BITS), _TOTAL - freqs
    for begin, end in reversed(steps):
        lanes = states[: end - begin]
        full = (lanes >= limits[begin:end]).nonzero()[0]
        if len(full):
            over = lanes[full]
            words.append(over & (_LOW - 1))
            lanes[full] = over >> 16
        # (x // f) * total + x % f + start
        quotient = lanes // freqs[begin:end]
        quotient *= gains[begin:end]
        lanes += quotient
        lanes += starts[begin:end]
    return words


class Decoder:
    """Gives the symbols of `encode` back, group after group. ValueError: it is not what it wrote.

    Args:
        data: what `encode` wrote.
        count: symbols in all groups.
    """

    def __init__(self, data: bytes, count: int) -> None:
        if len(data) % 2:
            raise ValueError(f"{len(data)} bytes are no words of 16 bits")
        self._words = np.frombuffer(data, "<u2").astype(np.int64)
        self._at = 0
        self._parts = parts(count)
        self._part = -1
        self._done = 0
        self._states = np.empty(0, np.int64)
        self._next_part()

    def take(self, freqs: Longs) -> NDArray[np.int32]:
        """The symbols of a group, int32 [n]; `freqs` [symbols, n], each column's sum is 2^14."""
        symbols, count = freqs.shape
        flat = freqs.T.reshape(-1)
        ends = flat.cumsum()
        starts = ends - flat  # of column i between i and i + 1 times 2^14
        bases = np.arange(0, count * _TOTAL, _TOTAL)
        found = np.empty(count, np.int64)
        at = 0
        while at < count:
            end, lanes = self._parts[self._part]
            last = min(count, at + end - self._done)
            for begin in range(at, last, lanes):
                stop = min(begin + lanes, last)
                self._step(begin, stop, bases, ends, starts, flat, found)
            self._done += last - at
            at = last
            if self._done == end and self._part + 1 < len(self._parts):
                self._next_part()
        found -= np.arange(0, count * symbols, symbols)
        return found.astype(np.int32)

    def finish(self) -> int:
        """The check. ValueError: the words do not end where the symbols do."""
        if self._words[self._at :].any() or len(self._words) - self._at > self._spare:
            raise ValueError("there are words behind the last symbol")
        seeds = self._seeds()
        if seeds[2:].any():
            raise ValueError("the lanes do not end as they began")
        return int(seeds[0] | seeds[1] << 16)

    def _step(
        self,
        begin: int,
        stop: int,
        bases: Longs,
        ends: Longs,
        starts: Longs,
        freqs: Longs,
        found: Longs,
    ) -> None:
        lanes = self._states[: stop - begin]
        slots = lanes & (_TOTAL - 1)
        slots += bases[begin:stop]
        at = ends.searchsorted(slots, "right")
        found[begin:stop] = at
        lanes >>= BITS
        lanes *= freqs.take(at)
        slots -= starts.take(at)
        lanes += slots
        low = (lanes < _LOW).nonzero()[0]
        if len(low):
            end = self._at + len(low)
            if end > len(self._words):
                raise ValueError("the words end before the symbols")
            lanes[low] = (lanes[low] << 16) | self._words[self._at : end]
            self._at = end

    def _next_part(self) -> None:
        """Begin the next part: its words are what the lanes of this one end with, then the rest."""
        self._spare = 0
        if self._part >= 0:
            seeds = self._seeds()
            self._spare = len(seeds)
            self._words = np.concatenate([seeds, self._words[self._at :]])
            self._at = 0
        self._part += 1
        lanes = self._parts[self._part][1]
        self._states, used = _states_from_words(self._words[self._at :], lanes)
        self._at += used

    def _seeds(self) -> Longs:
        if (self._states >> 16 != 1).any():
            raise ValueError("the lanes do not end as they began")
        return self._states & 0xFFFF


def _words_from_states(states: Longs) -> Longs:
    """The low 16 bits of each lane; then, as a string of bits, how many bits it has above these and
    their first one, four bits each, and those bits behind their first ones."""
    highs = states >> 16
    lengths = _POWERS.searchsorted(highs, "right") - 1
    counts = (lengths[:, None] >> _FOUR & 1).reshape(-1)
    bits = (highs[:, None] >> _SIXTEEN & 1)[lengths[:, None] > _SIXTEEN]
    packed = np.packbits(np.concatenate([counts, bits]).astype(np.uint8)).tobytes()
    packed += bytes(len(packed) % 2)
    return np.concatenate([states & 0xFFFF, np.frombuffer(packed, ">u2").astype(np.int64)])


def _states_from_words(words: Longs, lanes: int) -> tuple[Longs, int]:
    """The lanes, and how many words they took. ValueError: there are not so many."""
    text = np.unpackbits(words[lanes : 3 * lanes].astype(">u2").view(np.uint8))
    counts, bits = text[: 4 * lanes].reshape(-1, 4), text[4 * lanes :]
    lengths = counts.astype(np.int64) @ (1 << _FOUR) if len(counts) == lanes else np.full(1, 1 << 9)
    total = int(lengths.sum())
    if len(words) < lanes or len(bits) < total:
        raise ValueError("the words end before the lanes do")
    highs = np.zeros((lanes, 16), np.int64)
    highs[lengths[:, None] > _SIXTEEN] = bits[:total]
    used = lanes + (4 * lanes + total + 15) // 16
    return ((highs @ (1 << _SIXTEEN)) | (1 << lengths)) << 16 | words[:lanes], used
