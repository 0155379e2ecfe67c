"""Messages of Protocol Buffers, walked field by field without the protobuf package.

The wire format is that of protobuf.dev, "Encoding". Whoever walks knows what a field means.
"""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["contents", "fields", "integers", "text", "text_at"]

_NUMBER, _EIGHT_BYTES, _WITH_LENGTH, _FOUR_BYTES = 0, 1, 2, 5
_LONGEST_TEXT = 4096  # bytes; names and paths


def fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Numbers and contents of the fields that have a length; those of numbers are passed over.

    Raises ValueError: it is no such message, or is cut off; so do the others here.
    """
    for number, value in _parts(message):
        if isinstance(value, bytes):
            yield number, value


def contents(message: bytes, number: int) -> Iterator[bytes]:
    """The contents of the fields `number` of `message`."""
    return (value for n, value in fields(message) if n == number)


def integers(message: bytes, number: int) -> list[int]:
    """The whole numbers in the fields `number` of `message`, each in a field of its own."""
    return [value for n, value in _parts(message) if n == number and isinstance(value, int)]


def text_at(message: bytes, number: int) -> str:
    """The text in a field of `message`; nothing where it is not there."""
    return next((text(value) for n, value in fields(message) if n == number), "")


def text(value: bytes) -> str:
    """The content of a field as a name. Raises ValueError where it is too long for one."""
    if len(value) > _LONGEST_TEXT:
        raise ValueError(f"has a name of {len(value)} bytes")
    return value.decode("utf-8", "replace")


def _parts(message: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Every field but those of a fixed size."""
    place, end = 0, len(message)
    while place < end:
        tag, place = _varint(message, place)
        kind = tag & 7
        if kind == _WITH_LENGTH:
            length, place = _varint(message, place)
            if length > end - place:
                raise ValueError("is cut off or is no ONNX file")
            yield tag >> 3, message[place : place + length]
            place += length
        elif kind == _NUMBER:
            value, place = _varint(message, place)
            yield tag >> 3, value
        elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
            place += 8 if kind == _EIGHT_BYTES else 4
        else:
            raise ValueError("is no ONNX file")
    if place > end:
        raise ValueError("is cut off or is no ONNX file")


def _varint(message: bytes, place: int) -> tuple[int, int]:
    """A number of seven bits a byte, the least first, and where the next field begins."""
    if place < len(message) and message[place] < 0x80:  # nearly all of them
        return message[place], place + 1
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(message):
            raise ValueError("is cut off or is no ONNX file")
        byte = message[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise ValueError("is no ONNX file")
