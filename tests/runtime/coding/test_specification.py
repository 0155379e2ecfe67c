"""A decoder written from docs/recording_format.md, without NumPy, number by number."""

from __future__ import annotations

import math
import struct
import zlib
from itertools import groupby
from math import prod
from pathlib import Path

import pytest

import vidtok_edge.runtime.coding as coding
from vidtok_edge.runtime.recording import Recording
from vidtok_edge.runtime.recording.format.messages import coded_data
from vidtok_edge.runtime.streaming.records import LatentRecord

CONFORMANCE = Path(__file__).parents[2] / "conformance"
ROWS = [1, 8, 64, 75, 64, 64, 120, 270, 64, 280, 64, 120, 216, 336, 288, 360, 192, 306, 270, 504]
BEGIN = [sum(ROWS[:number]) for number in range(21)]
DATA = (Path(str(coding.__file__)).with_name("tables.v1.bin")).read_bytes()
NUMBERS = struct.unpack(f"<{len(DATA) // 2}h", DATA)
ORDER = {  # tables of a case
    (True, 0): [1, 2, 3],
    (True, 1): [4, 5, 6, 7, 8, 9],
    (False, 0): [11, 12, 10, 13],
    (False, 1): [15, 16, 17, 18, 14, 20, 19],
}
Grid = list[list[int]]


def reached(x: int, *bounds: int) -> int:
    return sum(x >= bound for bound in bounds)


def F(x: int) -> int:
    return reached(x, 1, 2, 3, 5, 8)


def C(x: int) -> int:
    return reached(x, 1, 2, 4, 6, 9, 14)


def log64(count: int) -> int:
    return (count**64).bit_length() - 1


def power(x: int) -> int:
    guess = math.floor(math.pow(2, 16 - x / 64))
    near = range(max(1, guess - 1), guess + 2)
    return max(n for n in near if n**64 <= 1 << (1024 - x))


LOG = [0, *map(log64, range(1, 4096))]
POWER = [power(x) for x in range(1024)]


class Decoder:
    """Of one run."""

    def __init__(self, levels: tuple[int, ...], height: int, width: int) -> None:
        self.levels, self.height, self.width = levels, height, width
        size = BEGIN[20] * 8
        flat = any(count != 8 for count in levels)
        self.counts = [16] * size if flat else list(NUMBERS[:size])
        self.before: Grid | None = None
        self.twice: Grid | None = None

    def phase(self, number: int) -> list[tuple[int, int]]:
        every = [(y, x) for y in range(self.height) for x in range(self.width)]
        return [(y, x) for y, x in every if (0, 2, 1)[y % 2 + x % 2] == number]

    def neighbours(self, y: int, x: int, phase: int) -> list[int]:
        def inside(y: int, x: int) -> bool:
            return 0 <= y < self.height and 0 <= x < self.width

        def pair(dy: int, dx: int) -> list[tuple[int, int]]:
            both = [(y - dy, x - dx), (y + dy, x + dx)]
            return [
                a if inside(*a) else b for a, b in (both, both[::-1]) if inside(*a) or inside(*b)
            ]

        if phase == 1:
            ys, xs = ([p[0] for p in pair(1, 0)], [p[1] for p in pair(0, 1)])
            places = [(a, b) for a in ys for b in xs]
        else:
            above, beside = pair(1, 0), pair(0, 1)
            places = (above or beside) + (beside or above) or [(y, x)] * 4
        return [a * self.width + b for a, b in places]

    def decode(self, data: bytes) -> list[int]:
        planes, first = len(self.levels), self.before is None
        count = self.height * self.width
        now: Grid = [[0] * count for _ in range(planes)]
        digits = None if data[0] == 1 else self.packed(data[2:], count)
        words = Words(data[2:], count * planes) if digits is None else None
        for phase in range(3):
            learned: list[int] = []
            for plane in range(planes):
                for lane, (y, x) in enumerate(self.phase(phase)):
                    at = y * self.width + x
                    rows = self.rows(now, plane, phase, y, x)
                    if words is not None:
                        now[plane][at] = words.take(self.frequencies(rows, plane, phase), not lane)
                    else:
                        assert digits is not None
                        now[plane][at] = digits[plane][at]
                    learned += [row * 8 + now[plane][at] for _, row in rows]
            self.learn(learned)
        tokens = [0] * count
        for plane in reversed(range(planes)):
            tokens = [t * self.levels[plane] + d for t, d in zip(tokens, now[plane], strict=True)]
        check = zlib.crc32(struct.pack(f"<{count}i", *tokens))
        assert check == (struct.unpack("<I", data[-4:])[0] if words is None else words.check())
        self.before, self.twice = now, self.before
        assert first == (data[1] == 0)
        return tokens

    def packed(self, data: bytes, count: int) -> Grid:
        bits = max(1, (prod(self.levels) - 1).bit_length())
        whole = int.from_bytes(data[:-4], "little")
        tokens = [whole >> bits * i & ((1 << bits) - 1) for i in range(count)]
        found = []
        for levels in self.levels:
            found.append([token % levels for token in tokens])
            tokens = [token // levels for token in tokens]
        return found

    def rows(self, now: Grid, p: int, phase: int, y: int, x: int) -> list[tuple[int, int]]:
        """Table and row in all counts."""
        at, near = y * self.width + x, self.neighbours(y, x, phase)
        n = [now[p][one] for one in near]
        m, r = sum(n) // 2, max(n) - min(n)
        e = now[p - 1][at] if p else 0
        e2 = now[p - 2][at] if p > 1 else 0
        o = 0
        if p:
            means = [sum(now[q][one] for one in near) // 2 for q in range(p)]
            o = 2 * sum(abs(2 * now[q][at] - means[q]) for q in range(p)) // p
        S, R = reached(r, 1, 2, 3, 5), reached(r, 2, 4)
        found: dict[int, int] = {}
        if self.before is None:
            if phase == 0:
                found = {1: 0, 2: e, 3: 8 * e + e2}
                found = {k: v for k, v in found.items() if p >= k - 1}
            else:
                found = {4: 5 * m + S, 5: 8 * n[0] + n[1], 6: 8 * n[2] + n[3]}
                if p:
                    found |= {7: 8 * m + e, 8: 3 * (6 * m + reached(o, 1, 2, 4, 6, 9)) + R}
                if p > 1:
                    found[9] = 8 * e + e2
            return self.placed(found, True, phase)
        old, older = self.before, self.twice or self.before
        a, b = old[p][at], older[p][at]
        g = min(max(e - old[p - 1][at], -4), 4) + 4 if p else 0
        c = 4 * sum(abs(now[q][at] - old[q][at]) for q in range(p)) // p if p else 0
        planes = len(self.levels)
        if phase == 0:
            m = sum(old[p][one] for one in near) // 2
            A = 5 * sum(abs(u[at] - v[at]) for u, v in zip(old, older, strict=True)) // planes
            found = {11: 8 * a + b, 12: 15 * a + m, 10: 7 * (5 * a + min(F(A), 4)) + C(c)}
            if p:
                found[13] = 3 * (9 * a + g) + min(C(c) // 2, 2)
            return self.placed(found, False, phase)
        s = sum(now[p][one] - old[p][one] for one in near) // 2
        t = sum(abs(now[p][one] - old[p][one]) for one in near)
        A = sum(abs(now[q][one] - old[q][one]) for q in range(planes) for one in near) // planes
        T = reached(A, 2, 5)
        found = {
            15: 4 * (9 * a + min(max(s + 4, 0), 8)) + reached(t // 2, 1, 3, 6),
            16: 3 * (15 * a + m) + T,
            17: 3 * (8 * a + b) + F(A) // 2,
            18: 3 * (6 * min(max(2 * a + s + 1, 0), 16) + F(A)) + R,
            14: 7 * (6 * a + F(A)) + C(c),
        }
        if p:
            found |= {20: 7 * (9 * a + g) + C(c), 19: 3 * (6 * m + reached(o, 1, 2, 4, 6, 9)) + T}
        return self.placed(found, False, phase)

    def placed(self, found: dict[int, int], first: bool, phase: int) -> list[tuple[int, int]]:
        order = [table for table in ORDER[first, min(phase, 1)] if table in found]
        assert order == list(found) and all(found[t] < ROWS[t - 1] for t in order)
        return [(table, BEGIN[table - 1] + found[table]) for table in order]

    def frequencies(self, rows: list[tuple[int, int]], plane: int, phase: int) -> list[int]:
        at = BEGIN[20] * 8
        at += ((int(self.before is not None) * 3 + phase) * 3 + min(plane, 2)) * 7
        levels = self.levels[plane]
        z = [
            sum(NUMBERS[at + i] * LOG[self.counts[row * 8 + v]] for i, (_, row) in enumerate(rows))
            // 64
            for v in range(levels)
        ]
        u = [POWER[min(max(z) - one, 1023)] for one in z]
        f = [one * ((1 << 14) - levels) // sum(u) + 1 for one in u]
        f[u.index(max(u))] += (1 << 14) - sum(f)
        return f

    def learn(self, cells: list[int]) -> None:
        for cell in cells:
            self.counts[cell] += 16
        while max(self.counts) > 4095:
            for row in range(0, len(self.counts), 8):
                some = self.counts[row : row + 8]
                if max(some) > 4095:
                    self.counts[row : row + 8] = [(one + 1) // 2 for one in some]


class Words:
    """Lanes."""

    def __init__(self, data: bytes, count: int) -> None:
        self.words = list(struct.unpack(f"<{len(data) // 2}H", data))
        lanes = [4 if i < 384 else 32 if i < 8192 else 256 for i in range(count)][::-1]
        self.parts = [(some, len(list(group))) for some, group in groupby(lanes)]
        self.done = 0
        self.turn: list[int] = []
        self.begin()

    def begin(self) -> None:
        lanes = self.parts[0][0]
        low, rest = self.words[:lanes], self.words[lanes:]
        bits = "".join(f"{word:016b}" for word in rest[: 2 * lanes])
        lengths = [int(bits[4 * i : 4 * i + 4], 2) for i in range(lanes)]
        at = 4 * lanes
        self.lanes: list[int] = []
        for length, word in zip(lengths, low, strict=True):
            high = int("1" + bits[at : at + length], 2)
            self.lanes.append((high << 16) + word)
            at += length
        self.words = rest[-(-at // 16) :]
        self.at = 0

    def take(self, f: list[int], new_group: bool) -> int:
        if new_group or self.at == len(self.lanes):
            self.renew()
        x = self.lanes[self.at]
        v = max(v for v in range(len(f)) if sum(f[:v]) <= x % (1 << 14))
        self.lanes[self.at] = f[v] * (x >> 14) + x % (1 << 14) - sum(f[:v])
        self.at, self.done = self.at + 1, self.done + 1
        if self.done == self.parts[0][1]:
            self.renew()
            if len(self.parts) > 1:
                self.parts.pop(0)
                self.done = 0
                assert all(x >> 16 == 1 for x in self.lanes)
                self.words = [x & 0xFFFF for x in self.lanes] + self.words
                self.begin()
        return v

    def renew(self) -> None:
        """The end of a turn."""
        for lane in range(self.at):
            if self.lanes[lane] < 1 << 16:
                self.lanes[lane] = (self.lanes[lane] << 16) + self.words.pop(0)
        self.at = 0

    def check(self) -> int:
        assert all(x >> 16 == 1 for x in self.lanes) and not any(self.words)
        low, high, third, fourth = (x & 0xFFFF for x in self.lanes)
        assert third == fourth == 0
        return low + (high << 16)


@pytest.mark.parametrize(
    ("name", "source", "most"),
    [("entropy-planes.mcap", 0, 10), ("entropy-planes.mcap", 1, 8), ("entropy-robot.mcap", 0, 3)],
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
