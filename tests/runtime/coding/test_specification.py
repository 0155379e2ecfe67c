"""A decoder written from docs/recording_format.md, without NumPy, number by number."""

from __future__ import annotations

import math
import struct
import zlib
from itertools import pairwise, takewhile
from math import prod
from operator import mul
from pathlib import Path

import pytest

import vidtok_edge.runtime.coding as coding
from vidtok_edge.runtime.recording import Recording
from vidtok_edge.runtime.recording.format.messages import coded_data
from vidtok_edge.runtime.streaming.records import LatentRecord

CONFORMANCE = Path(__file__).parents[2] / "conformance"
DATA = (Path(str(coding.__file__)).with_name("networks.v1.bin")).read_bytes()
SIZES = [50, 48, 32, 8]
SHIFTS = [7, 8, 10]
Grid = list[list[int]]


def power(x: int) -> int:
    guess = math.floor(math.pow(2, 16 - x / 64))
    near = range(max(1, guess - 1), guess + 2)
    return max(n for n in near if n**64 <= 1 << (1024 - x))


POWER = [power(x) for x in range(1024)]


def networks() -> list[list[tuple[list[int], list[int]]]]:
    """Of each network, of each layer: weights, input after input of each output, and biases."""
    pairs = list(pairwise(SIZES))
    weights = sum(into * out for into, out in pairs)
    numbers = struct.unpack(f"<{6 * weights}h{6 * sum(SIZES[1:])}i", DATA)
    at, bias_at = 0, 6 * weights
    found = []
    for _ in range(6):
        layers = []
        for into, out in pairs:
            layers.append((numbers[at : at + into * out], numbers[bias_at : bias_at + out]))
            at, bias_at = at + into * out, bias_at + out
        found.append([(list(w), list(b)) for w, b in layers])
    return found


NETWORKS = networks()


class Decoder:
    """Of one run."""

    def __init__(self, levels: tuple[int, ...], height: int, width: int) -> None:
        self.levels, self.height, self.width = levels, height, width
        self.past: list[Grid] = []  # values of latents before, the last one first

    def phase(self, number: int) -> list[tuple[int, int]]:
        every = [(y, x) for y in range(self.height) for x in range(self.width)]
        return [(y, x) for y, x in every if (0, 2, 1)[y % 2 + x % 2] == number]

    def at(self, grid: list[int], y: int, x: int, dy: int, dx: int) -> int:
        """A value beside (y, x)."""
        if not 0 <= y + dy < self.height:
            dy = -dy
        if not 0 <= x + dx < self.width:
            dx = -dx
        inside = 0 <= y + dy < self.height and 0 <= x + dx < self.width
        return grid[(y + dy) * self.width + x + dx] if inside else 0

    def decode(self, data: bytes) -> list[int]:
        assert data[1] == len(self.past)
        planes, count = len(self.levels), self.height * self.width
        if data[0] == 1:
            now, check = self.coded(data[2:])
        else:
            now, check = self.packed(data[2:-4], count), struct.unpack("<I", data[-4:])[0]
        tokens = [0] * count
        for plane in reversed(range(planes)):
            levels = self.levels[plane]
            digits = [(value + levels - 1) // 2 for value in now[plane]]
            tokens = [t * levels + d for t, d in zip(tokens, digits, strict=True)]
        assert check == zlib.crc32(struct.pack(f"<{count}i", *tokens))
        self.past.insert(0, now)
        return tokens

    def packed(self, data: bytes, count: int) -> Grid:
        bits = max(1, (prod(self.levels) - 1).bit_length())
        whole = int.from_bytes(data, "little")
        tokens = [whole >> bits * i & ((1 << bits) - 1) for i in range(count)]
        found = []
        for levels in self.levels:
            found.append([2 * (token % levels) - levels + 1 for token in tokens])
            tokens = [token // levels for token in tokens]
        return found

    def coded(self, data: bytes) -> tuple[Grid, int]:
        size = 6 if len(data) % 2 == 0 else 5
        x = int.from_bytes(data[:size], "little")
        words = list(struct.unpack(f"<{(len(data) - size) // 2}H", data[size:]))
        now: Grid = [[0] * (self.height * self.width) for _ in self.levels]
        coded: list[tuple[int, int]] = []
        for phase in range(3):
            before = list(coded)
            for plane, levels in enumerate(self.levels):
                for place in self.phase(phase):
                    inputs = self.inputs(now, before, plane, phase, *place)
                    starts = self.starts(inputs, phase, plane)
                    slot = x % (1 << 14)
                    d = max(d for d in range(levels) if starts[d] <= slot)
                    x = (starts[d + 1] - starts[d]) * (x >> 14) + slot - starts[d]
                    if x < 1 << 32:
                        x = (x << 16) + words.pop(0)
                    now[plane][place[0] * self.width + place[1]] = 2 * d - levels + 1
            coded += self.phase(phase)
        assert not words and x >> 32 == 1
        return now, x - (1 << 32)

    def inputs(
        self, now: Grid, coded: list[tuple[int, int]], p: int, phase: int, y: int, x: int
    ) -> list[int]:
        planes, count = range(len(self.levels)), self.height * self.width
        here = y * self.width + x
        nothing = [[0] * count for _ in planes]
        a, b, c = [*self.past[:3], *[self.past[-1] if self.past else nothing] * 3][:3]
        around = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
        diagonal, beside = [(-1, -1), (-1, 1), (1, -1), (1, 1)], [(-1, 0), (1, 0), (0, -1), (0, 1)]
        near = [[], diagonal, beside][phase]
        u = [[abs(i - j) for i, j in zip(a[q], b[q], strict=True)] for q in planes]
        around_u = [sum(self.at(u[q], y, x, *one) for one in around) for q in planes]
        found = [self.at(a[p], y, x, *one) if self.past else 0 for one in around]
        found += [b[p][here], c[p][here]]
        found += [self.still(p, here), 8 * sum(self.still(q, here) for q in planes) // len(planes)]
        found += [2 * min(len(self.past), 7)]
        same = sum(i == j for q in planes for i, j in zip(a[q], b[q], strict=True))
        found += [127 * same // (len(planes) * count) if len(self.past) > 1 else 0]
        found += [u[p][here], 4 * sum(u[q][here] for q in planes) // len(planes)]
        found += [around_u[p], sum(around_u) // len(planes)]
        n = [[self.at(now[q], y, x, *one) for one in near] or [0] * 4 for q in planes]
        old = [[self.at(a[q], y, x, *one) for one in near] or [0] * 4 for q in planes]
        spread = [max(n[q]) - min(n[q]) for q in planes]
        w = [[abs(n[q][i] - old[q][i]) for i in range(4)] for q in planes]
        found += [*n[p], spread[p], sum(spread) // len(planes), sum(w[p])]
        found += [4 * sum(w[q][i] for q in planes) // len(planes) for i in range(4)]
        places = [yy * self.width + xx for yy, xx in coded]
        same = sum(now[q][i] == a[q][i] for q in planes for i in places)
        found += [127 * same // (len(planes) * len(places)) if self.past and places else 0]
        v = [now[q][here] for q in range(p)][::-1]
        step = [now[q][here] - a[q][here] for q in range(p)][::-1]
        off = [now[q][here] - sum(n[q]) // 4 for q in range(p)][::-1]
        sizes = [abs(one) for one in step]
        found += [*v, 0, 0, 0, 0][:4]
        found += [*step, 0, 0, 0, 0][:4]
        found += [4 * sum(sizes) // p, 16 * sizes.count(0) // p, max(sizes)] if p else [0, 0, 0]
        found += [*off, 0, 0][:2]
        found += [4 * sum(map(abs, off)) // p if p else 0]
        found += [16 if min(p, 4) == q else 0 for q in range(5)]
        assert len(found) == 50 and all(abs(one) <= 127 for one in found)
        return found

    def still(self, plane: int, here: int) -> int:
        """For how many latents a digit had not changed."""
        values = [one[plane][here] for one in self.past]
        alike = list(takewhile(lambda value: value == values[0], values[1:]))
        return min(7, len(alike))

    def starts(self, x: list[int], phase: int, plane: int) -> list[int]:
        network = NETWORKS[3 * bool(self.past) + phase]
        for number, (weights, biases) in enumerate(network):
            size = len(x)
            sums = [
                sum(map(mul, weights[size * out : size * (out + 1)], x))
                for out in range(len(biases))
            ]
            x = [(s + bias) >> SHIFTS[number] for s, bias in zip(sums, biases, strict=True)]
            if number < 2:
                x = [min(max(one, 0), 255) for one in x]
        levels = self.levels[plane]
        first = (8 - levels) // 2
        z = x[first : first + levels]
        u = [POWER[min(max(z) - one, 1023)] for one in z]
        return [sum(u[:d]) * ((1 << 14) - levels) // sum(u) + d for d in range(levels + 1)]


@pytest.mark.parametrize(
    ("name", "source", "most"),
    [("entropy-planes.mcap", 0, 10), ("entropy-planes.mcap", 1, 8), ("entropy-robot.mcap", 0, 2)],
)
def test_a_stranger_decodes_the_same(name: str, source: int, most: int) -> None:
    with Recording.open(CONFORMANCE / name) as recording:
        tokenizer = recording.source(source).tokenizer
        decoder, kinds = None, set()
        for number, (message, entry) in enumerate(recording.messages(source)):
            if number >= most:
                break
            assert isinstance(entry, LatentRecord)
            data = coded_data(message.data)
            if data[1] == 0:
                decoder = Decoder(tokenizer.levels, *tokenizer.shape)
            assert decoder is not None
            assert decoder.decode(data) == entry.values.reshape(-1).tolist()
            kinds.add(data[0])
    assert kinds
