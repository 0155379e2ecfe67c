"""Draws docs/figures/rooms.svg from the table of rooms in ARCHITECTURE.md.

A room stands above all that it may import. An arrow that follows from two others is left out.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tests"))

from rooms import Room, rooms  # noqa: E402  # the one reader of the table

WIDTH, ROW, BOX, GAP = 1180, 66, 26, 14
COLOURS = {"vidtok_ref": "#c9b3e6", "runtime": "#a9cdf0", "export": "#f3cf94", "calib": "#f3cf94"}
COLOURS |= {"lowering": "#f3cf94", "commands": "#b9dfb3", "cli": "#b9dfb3"}


def picture(table: dict[str, Room]) -> str:
    """The SVG."""
    uses = {
        name: [other for other in room.may_import if other in table] for name, room in table.items()
    }
    reach: dict[str, set[str]] = {}
    layer: dict[str, int] = {}
    for name in sorted(table, key=lambda name: len(_below(name, uses))):
        reach[name] = set().union(*({other} | reach[other] for other in uses[name]))
        layer[name] = 1 + max((layer[other] for other in uses[name]), default=-1)
    rows = _ordered(
        [[name for name in table if layer[name] == row] for row in range(max(layer.values()) + 1)],
        uses,
    )
    place = {
        name: spot
        for row, names in enumerate(rows)
        for name, spot in _spread(names, len(rows) - row)
    }
    arrows = [
        (name, other)
        for name, others in uses.items()
        for other in others
        if not any(other in reach[third] for third in others)
    ]
    height = ROW * len(rows) + 20
    lines = [_arrow(place[name], place[other]) for name, other in arrows]
    boxes = [_box(name, *spot) for name, spot in place.items()]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'font-family="sans-serif" font-size="12">\n'
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>\n'
        + "\n".join(lines + boxes)
        + "\n</svg>\n"
    )


def _below(name: str, uses: dict[str, list[str]]) -> set[str]:
    return set().union(*({other} | _below(other, uses) for other in uses[name]))


def _ordered(rows: list[list[str]], uses: dict[str, list[str]]) -> list[list[str]]:
    """Each row sorted by the mean place of what its rooms use, a few times."""
    for _ in range(8):
        at = {name: (k + 0.5) / len(names) for names in rows for k, name in enumerate(names)}
        for names in rows:
            near = {
                name: [at[o] for o in [*uses[name], *(u for u in uses if name in uses[u])]] or [0.5]
                for name in names
            }
            names.sort(key=lambda name: sum(near[name]) / len(near[name]))
    return rows


def _spread(names: list[str], row: int) -> list[tuple[str, tuple[float, float, float]]]:
    """Middle, top and width of each box of a row."""
    widths = [7.0 * len(name) + 18 for name in names]
    gap = max(GAP, (WIDTH - sum(widths)) / (len(names) + 1))
    spots: list[tuple[str, tuple[float, float, float]]] = []
    x = gap
    for name, width in zip(names, widths, strict=True):
        spots.append((name, (x + width / 2, row * ROW - ROW + 20, width)))
        x += width + gap
    return spots


def _arrow(start: tuple[float, float, float], end: tuple[float, float, float]) -> str:
    (x0, y0, _), (x1, y1, _) = start, end
    y0 += BOX
    y = (y0 + y1) / 2
    curve = f"M{x0:.0f} {y0:.0f} C{x0:.0f} {y:.0f} {x1:.0f} {y:.0f} {x1:.0f} {y1:.0f}"
    return f'<path d="{curve}" fill="none" stroke="#9a9a9a"/>'


def _box(name: str, x: float, y: float, width: float) -> str:
    colour = COLOURS.get(name.split("/")[0], "#dddddd")
    return (
        f'<rect x="{x - width / 2:.0f}" y="{y:.0f}" width="{width:.0f}" height="{BOX}" rx="4" '
        f'fill="{colour}" stroke="#555"/>'
        f'<text x="{x:.0f}" y="{y + 17:.0f}" text-anchor="middle">{name}</text>'
    )


if __name__ == "__main__":
    (HERE / "rooms.svg").write_text(picture(rooms()), encoding="utf-8")
