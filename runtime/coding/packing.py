"""Whole numbers at their real width: a token of a codebook of 32,768 takes 15 bits, not 32.

The bit string is little-endian throughout: bit k of value i is bit i * bits + k of the whole, and
bit n of the whole is bit n % 8 of byte n // 8. The last byte is filled up with zeros.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["bits_for", "pack", "packed_size", "unpack"]


def bits_for(count: int) -> int:
    """Bits that tell `count` different values apart; at least 1.

    >>> [bits_for(n) for n in (1, 2, 3, 4096, 32768, 32769)]
    [1, 1, 2, 12, 15, 16]
    """
    return max(1, (count - 1).bit_length())


def packed_size(count: int, bits: int) -> int:
    """Bytes of `count` packed values.

    >>> packed_size(1024, 15), packed_size(3, 12)
    (1920, 5)
    """
    return (count * bits + 7) // 8


def pack(values: NDArray[np.int32], bits: int) -> bytes:
    """`values`, int32 of any shape, in C order. ValueError: one is negative or needs more bits.

    >>> pack(np.array([1, 2, 3], np.int32), 4).hex()
    '2103'
    """
    flat = values.reshape(-1)
    if flat.size and not 0 <= int(flat.min()) <= int(flat.max()) < 1 << bits:
        raise ValueError(f"values lie in {flat.min()} to {flat.max()}, not 0 to {(1 << bits) - 1}")
    ones = (flat[:, None] >> np.arange(bits, dtype=np.int32)) & 1
    return np.packbits(ones.astype(np.uint8).reshape(-1), bitorder="little").tobytes()


def unpack(data: bytes, count: int, bits: int) -> NDArray[np.int32]:
    """The `count` values that `pack` wrote, int32 [count]. ValueError: it wrote something else.

    >>> unpack(bytes.fromhex("2103"), 3, 4)
    array([1, 2, 3], dtype=int32)
    """
    if len(data) != packed_size(count, bits):
        raise ValueError(
            f"{count} values of {bits} bits are {packed_size(count, bits)} bytes, not {len(data)}"
        )
    ones = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
    if ones[count * bits :].any():
        raise ValueError("the bits after the last value are not zero")
    digits = ones[: count * bits].reshape(count, bits).astype(np.int32)
    return digits @ np.left_shift(np.int32(1), np.arange(bits, dtype=np.int32))
