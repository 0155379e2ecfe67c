"""The figures of docs/streaming.md, drawn as SVG from the code that they show.

    python benchmarks/figures.py    # rewrite docs/figures/*.svg

Each has a ground of its own, so that it reads alike on white and on dark pages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path

from vidtok_edge.runtime.streaming.framing import Framing

__all__ = ["FIGURES", "FOLDER"]

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "figures"

_INK, _QUIET, _GROUND = "#1f2933", "#61707f", "#f7f8fa"
_FILLS = ["#f2b56b", "#8fc7e8", "#a9d99b", "#d3b4e6"]
_CACHE, _CONTROL = "#f4e3a1", "#e3e7ec"


class _Drawing:
    """SVG, one element after the other. Lengths are pixels."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self._parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" font-family="Helvetica, Arial, sans-serif" '
            f'font-size="13" role="img" aria-label="{escape(title)}">',
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
            f'markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="{_QUIET}"/></marker>'
            "</defs>",
            f'<rect width="{width}" height="{height}" rx="8" fill="{_GROUND}"/>',
        ]

    def box(self, x: float, y: float, width: float, height: float, fill: str, text: str) -> None:
        """A box with a line of text in its middle."""
        self._parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="3" '
            f'fill="{fill}" stroke="{_INK}" stroke-width="0.8"/>'
        )
        self.text(x + width / 2, y + height / 2 + 4.5, text, anchor="middle")

    def text(
        self, x: float, y: float, text: str, *, anchor: str = "start", color: str = _INK
    ) -> None:
        """A line of text, on the base line y."""
        self._parts.append(
            f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" fill="{color}">{escape(text)}</text>'
        )

    def arrow(self, *points: tuple[float, float]) -> None:
        """A line through `points` with a tip at its end."""
        path = " ".join(f"{x:g},{y:g}" for x, y in points)
        self._parts.append(
            f'<polyline points="{path}" fill="none" stroke="{_QUIET}" stroke-width="1.3" '
            'marker-end="url(#tip)"/>'
        )

    def __str__(self) -> str:
        return "\n".join([*self._parts, "</svg>\n"])


def framing() -> str:
    """Frames, the latents that stand for them, and the calls that give them back; f = 4."""
    f, latents, cell, left = 4, 4, 44, 150
    made = _Drawing(left + cell * 13 + 20, 256, "Which frames a latent stands for, f = 4")
    plain, delayed = (Framing(f, causal=True, delayed=late) for late in (False, True))
    rows = {"frames": 28, "latents": 74, "decoded by v1.0": 146, "decoded by v1.1": 192}
    for name, y in rows.items():
        made.text(20, y + 18, name)
    for latent in range(latents):
        share, fill = plain.share(latent), _FILLS[latent]
        x, width = left + cell * share.start, cell * len(share) - 4
        for frame in share:
            made.box(left + cell * frame, rows["frames"], cell - 4, 28, fill, str(frame))
        made.box(x, rows["latents"], width, 28, fill, str(latent))
    made.text(left, 126, "the call that gives each frame back, one latent per call:", color=_QUIET)
    for row, model in (("decoded by v1.0", plain), ("decoded by v1.1", delayed)):
        for call in range(latents + model.delayed):
            raw = range(f * call, f * call + f)
            kept = [n for n in map(model.frame_of_output, raw) if n is not None]
            kept = [n for n in kept if n < model.first_frame(latents)]
            text = f"call {call}" if call < latents else "end call"
            fill = _FILLS[call] if call < latents else _CONTROL
            width = cell * len(kept) - 4
            made.box(left + cell * kept[0], rows[row], width, 28, fill, text)
    made.text(
        left,
        242,
        "v1.1: each latent from 1 on holds back f - 1 = 3 frames, for the next call",
        color=_QUIET,
    )
    return str(made)


def step_graph() -> str:
    """A decoder's step graph of version 1.1: what goes in, what comes out, what is carried."""
    made = _Drawing(760, 262, "A step graph: data, control inputs, caches in and out")
    made.box(270, 28, 220, 150, "#ffffff", "step graph")
    made.text(380, 124, "one call, N latents", anchor="middle", color=_QUIET)
    for y, name, note, fill in (
        (32, "tokens", "int32 [B, N, h, w]", _FILLS[1]),
        (68, "start, ready", "bool [B, 1]", _CONTROL),
        (104, "end", "bool [B, N]", _CONTROL),
        (140, "cache_000 ...", "slot on axis 0", _CACHE),
    ):
        made.box(132, y, 100, 30, fill, name)
        made.text(124, y + 20, note, anchor="end", color=_QUIET)
        made.arrow((232, y + 15), (268, y + 15))
    for y, name, note, fill in (
        (32, "frames", "uint8 [B, fN, H, W, 3]", _FILLS[1]),
        (140, "new_cache_000 ...", "same types and shapes", _CACHE),
    ):
        made.arrow((490, y + 15), (526, y + 15))
        made.box(528, y, 126, 30, fill, name)
        made.text(591, y + 46, note, anchor="middle", color=_QUIET)
    made.arrow((654, 155), (690, 155), (690, 222), (182, 222), (182, 172))
    made.text(380, 214, "fed back at the next call; not read where start is true", anchor="middle")
    made.text(
        380,
        246,
        "an encoder takes frames and gives tokens; end is there in version 1.1 decoders alone",
        anchor="middle",
        color=_QUIET,
    )
    return str(made)


FIGURES: Mapping[str, Callable[[], str]] = {"framing": framing, "step_graph": step_graph}


def main() -> None:
    for name, drawn in FIGURES.items():
        (FOLDER / f"{name}.svg").write_text(drawn(), encoding="utf-8")


if __name__ == "__main__":
    main()
