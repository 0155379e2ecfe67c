"""Tokens of one source to fewer bytes and back, each latent from those before it in its run.

A coded latent is a byte that says how, a byte that says which one of its run it is, and the rest:

    0, the place, and tokens packed at their width: where coding would not make them fewer
    1, the place, and what `rans.encode` gives, with the CRC-32 of the tokens as its check

The first latent of a run, place 0, depends on nothing. A run has 256 latents at most.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.runtime.coding.contexts import (
    DIGITS,
    Known,
    digits_of,
    phases_of,
    tokens_of,
)
from vidtok_edge.runtime.coding.model import Model, weights_at
from vidtok_edge.runtime.coding.packing import bits_for, pack, packed_size, unpack
from vidtok_edge.runtime.coding.rans import Decoder, encode

__all__ = ["LONGEST_RUN", "LatentCoder", "largest", "place_of", "takes"]

LONGEST_RUN = 256
_PACKED, _CODED = 0, 1
_HEAD = 2  # bytes
_CRC = 4


def takes(levels: Sequence[int]) -> bool:
    """Whether latents of planes with so many levels can be coded."""
    return 0 < len(levels) <= DIGITS and all(2 <= count <= DIGITS for count in levels)


def largest(levels: Sequence[int], count: int) -> int:
    """Bytes of a coded latent of `count` tokens at most."""
    return _HEAD + _CRC + packed_size(count, bits_for(prod(levels)))


def place_of(data: bytes) -> int:
    """Which one of its run a coded latent is. ValueError: it is none."""
    if len(data) <= _HEAD or data[0] not in (_PACKED, _CODED):
        raise ValueError(
            f"{len(data)} bytes that begin with {data[:1].hex()!r} are no coded latent"
        )
    return data[1]


_Group = tuple[NDArray[np.intp], NDArray[np.int32], int, NDArray[np.intp]]


class LatentCoder:
    """Codes the latents of a run, or decodes them, one after another.

    Args:
        levels: of each plane; see `takes`.
        height, width: of the grid.
    """

    def __init__(self, levels: Sequence[int], height: int, width: int) -> None:
        self._levels = tuple(levels)
        self._height, self._width = height, width
        self._bits = bits_for(prod(levels))
        self.reset()

    def reset(self) -> None:
        """Begin a new run."""
        self.place = 0
        self._model: Model | None = None
        self._before: NDArray[np.int32] | None = None
        self._twice: NDArray[np.int32] | None = None

    def encode(self, tokens: NDArray[np.int32]) -> bytes:
        """The bytes of the next latent of the run; `tokens` int32 [h, w], each of the codebook.

        A run that is full ends, and another begins.
        """
        if self.place >= LONGEST_RUN:
            self.reset()
        digits = digits_of(tokens.reshape(-1), self._levels)
        starts, freqs, sizes = [], [], []
        for rows, weights, plane, positions in self._groups(digits):
            now = digits[plane].take(positions)
            table = self._model_of_run.frequencies(rows, weights, plane)
            places = now, np.arange(len(now))
            own = table[places]
            freqs.append(own)
            starts.append(table.cumsum(0)[places] - own)
            sizes.append(len(now))
            self._model_of_run.count(rows, now)
        check = _check(tokens)
        coded = encode(np.concatenate(starts), np.concatenate(freqs), sizes, check)
        packed = pack(tokens, self._bits) + check.to_bytes(_CRC, "little")
        small = len(coded) < len(packed)
        head = bytes([_CODED if small else _PACKED, self.place])
        self._went(digits)
        return head + (coded if small else packed)

    def decode(self, data: bytes) -> NDArray[np.int32]:
        """The tokens of the next latent of the run, int32 [h, w].

        ValueError: it is not the next one, or not what `encode` gave; the run ends with it.
        """
        try:
            place = place_of(data)
            if place == 0:
                self.reset()
            if place != self.place:
                raise ValueError(
                    f"it is number {place} of its run, and those before it are not all there"
                )
            tokens = self._decoded(data)
        except ValueError:
            self.reset()
            raise
        return tokens.reshape(self._height, self._width)

    @property
    def _model_of_run(self) -> Model:
        if self._model is None:
            self._model = Model(self._levels)
        return self._model

    def _groups(self, digits: NDArray[np.int32]) -> Iterator[_Group]:
        """Of each group, whose digits must be in `digits` when the next one is asked for: rows of
        tables, their weights, the plane, positions."""
        for phase in phases_of(self._height, self._width):
            if not len(phase.positions):
                continue
            known = Known(phase, digits, self._before, self._twice)
            for plane in range(len(self._levels)):
                weights = weights_at(self._before is not None, phase.number, plane)
                yield known.rows(plane), weights, plane, phase.positions
            self._model_of_run.learn()

    def _decoded(self, data: bytes) -> NDArray[np.int32]:
        count = self._height * self._width
        if data[0] == _PACKED:
            tokens = unpack(data[_HEAD:-_CRC], count, self._bits)
            check = int.from_bytes(data[-_CRC:], "little")
            if check != _check(tokens) or int(tokens.max()) >= prod(self._levels):
                raise ValueError("its tokens are not what was packed")
            digits = digits_of(tokens, self._levels)
            for rows, _, plane, positions in self._groups(digits):
                self._model_of_run.count(rows, digits[plane].take(positions))
        else:
            digits = np.zeros((len(self._levels), count), np.int32)
            decoder = Decoder(data[_HEAD:], count * len(self._levels))
            for rows, weights, plane, positions in self._groups(digits):
                table = self._model_of_run.frequencies(rows, weights, plane)
                digits[plane, positions] = now = decoder.take(table)
                self._model_of_run.count(rows, now)
            tokens = tokens_of(digits, self._levels)
            if decoder.finish() != _check(tokens):
                raise ValueError("its tokens are not what was coded")
        self._went(digits)
        return tokens

    def _went(self, digits: NDArray[np.int32]) -> None:
        self._twice, self._before = self._before, digits
        self.place += 1


def _check(tokens: NDArray[np.int32]) -> int:
    return zlib.crc32(tokens.astype("<i4").tobytes())
