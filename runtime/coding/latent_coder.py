"""Tokens of one source to fewer bytes and back, each latent from those before it in its run.

A coded latent is a byte that says how, a byte that says which one of its run it is, and the rest:

    0, the place, and tokens packed at their width: where coding would not make them fewer
    1, the place, and what `rans.encode` gives, with the CRC-32 of the tokens as its check

The first latent of a run, place 0, depends on nothing. A run has 256 latents at most.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.runtime.coding.inputs import History, Inputs
from vidtok_edge.runtime.coding.network import bounds_of, network_at
from vidtok_edge.runtime.coding.packing import bits_for, pack, packed_size, unpack
from vidtok_edge.runtime.coding.planes import DIGITS, digits_of, order_of, tokens_of
from vidtok_edge.runtime.coding.rans import Decoder, encode

__all__ = ["LONGEST_RUN", "MOST_TOKENS", "LatentCoder", "largest", "place_of", "takes"]

LONGEST_RUN = 256
MOST_TOKENS = 1 << 18
"""Of a latent: frames of 4096x4096. Decoding one takes up to 81 bytes for each digit."""
_PACKED, _CODED = 0, 1
_HEAD = 2  # bytes
_CRC = 4


def takes(levels: Sequence[int], tokens: int) -> bool:
    """Whether latents of so many tokens, of planes with so many levels, can be coded."""
    known = 0 < len(levels) <= DIGITS and all(2 <= count <= DIGITS for count in levels)
    return known and tokens <= MOST_TOKENS


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
        self._begun: History | None = None

    def encode(self, tokens: NDArray[np.int32]) -> bytes:
        """The bytes of the next latent of the run; `tokens` int32 [h, w], each of the codebook.

        A run that is full ends, and another begins.
        """
        if self.place >= LONGEST_RUN:
            self.reset()
        digits = digits_of(tokens.reshape(-1), self._levels)
        values = self._values(digits)
        check = _check(tokens)
        coded = encode(*self._starts_and_freqs(digits, values), check)
        small = len(coded) < packed_size(tokens.size, self._bits) + _CRC
        head = bytes([_CODED if small else _PACKED, self.place])
        self._went(values)
        if small:
            return head + coded
        return head + pack(tokens, self._bits) + check.to_bytes(_CRC, "little")

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
    def _past(self) -> History:
        """Made when it is needed: whoever names a source may claim any grid."""
        if self._begun is None:
            self._begun = History(len(self._levels), self._height * self._width)
        return self._begun

    def _values(self, digits: NDArray[np.int32]) -> NDArray[np.int16]:
        """Digits about zero, [planes, h * w + 1], and one 0 for what lies outside of the grid."""
        values = np.zeros((len(digits), digits.shape[1] + 1), np.int16)
        middle = np.array(self._levels, np.int32)[:, None] - 1
        values[:, :-1] = 2 * digits - middle
        return values

    def _starts_and_freqs(
        self, digits: NDArray[np.int32], values: NDArray[np.int16]
    ) -> tuple[list[int], list[int]]:
        """Of all digits of a latent, in the order of decoding."""
        order = order_of(self._height, self._width)
        inputs = Inputs(order, values, self._past)
        every = slice(0, len(order.positions))
        inputs.add_phases(every)
        for plane in range(len(self._levels)):
            inputs.add_plane(plane, every)
        digits = digits.take(order.positions, axis=1)
        starts: list[int] = []
        freqs: list[int] = []
        for phase, own in enumerate(order.parts):
            network = network_at(self.place > 0, phase)
            for plane, levels in enumerate(self._levels):
                now = digits[plane, own]
                bounds = bounds_of(network.outputs(inputs.values[:, plane, own]), levels)
                places = now * len(now) + np.arange(len(now))
                found = bounds.reshape(-1).take(places)
                starts += found.tolist()
                freqs += (bounds[1:].reshape(-1).take(places) - found).tolist()
        return starts, freqs

    def _decoded(self, data: bytes) -> NDArray[np.int32]:
        count = self._height * self._width
        if data[0] == _PACKED:
            tokens = unpack(data[_HEAD:-_CRC], count, self._bits)
            check = int.from_bytes(data[-_CRC:], "little")
            if check != _check(tokens) or int(tokens.max()) >= prod(self._levels):
                raise ValueError("its tokens are not what was packed")
            self._went(self._values(digits_of(tokens, self._levels)))
            return tokens
        decoder = Decoder(data[_HEAD:])
        digits, values = self._decoded_digits(decoder)
        tokens = tokens_of(digits, self._levels)
        if decoder.finish() != _check(tokens):
            raise ValueError("its tokens are not what was coded")
        self._went(values)
        return tokens

    def _decoded_digits(self, decoder: Decoder) -> tuple[NDArray[np.int32], NDArray[np.int16]]:
        """The digits of a latent and their values."""
        digits = np.zeros((len(self._levels), self._height * self._width), np.int32)
        values = np.zeros((len(digits), digits.shape[1] + 1), np.int16)
        order = order_of(self._height, self._width)
        inputs = Inputs(order, values, self._past)
        for phase, own in enumerate(order.parts):
            positions, network = order.positions[own], network_at(self.place > 0, phase)
            inputs.add_phases(own)
            for plane, levels in enumerate(self._levels):
                outputs = network.outputs(inputs.add_plane(plane, own))
                bounds = bounds_of(outputs, levels).T.reshape(-1)
                found = decoder.take(bounds.tolist(), levels + 1)
                now = np.array(found, np.int32) - np.arange(0, len(bounds), levels + 1)
                digits[plane, positions] = now
                values[plane, positions] = 2 * now - (levels - 1)
        return digits, values

    def _went(self, values: NDArray[np.int16]) -> None:
        self._past.add(values)
        self.place += 1


def _check(tokens: NDArray[np.int32]) -> int:
    return zlib.crc32(tokens.astype("<i4").tobytes())
