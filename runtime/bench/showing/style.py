"""How the page looks, in the light and in the dark."""

__all__ = ["STYLE"]

STYLE = """
:root {
  color-scheme: light dark;
  --page: #fbfbfa; --card: #ffffff; --ink: #1d1f23; --soft: #5b616b; --faint: #e4e5e8;
  --line: #c9ccd2; --bad: #c8281e; --good: #1b7f4b; --limit: #7a4a00;
  --s0: #2563c9; --s1: #c66a00; --s2: #0a8a6a; --s3: #8447c6; --s4: #bf3878; --s5: #5d6673;
  --p0: #8fb4ec; --p1: #2563c9; --p2: #143d80; --p3: #c66a00;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14161a; --card: #1c1f25; --ink: #e8eaee; --soft: #a2a9b4; --faint: #2d313a;
    --line: #454b57; --bad: #ff7a6e; --good: #5fd39a; --limit: #e5b567;
    --s0: #6ea6ff; --s1: #f0a04b; --s2: #4fcfaa; --s3: #be93f5; --s4: #f187b6; --s5: #a9b2bf;
    --p0: #a9cbff; --p1: #5590f0; --p2: #3567b8; --p3: #f0a04b;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 26px; line-height: 1.2; margin: 0 0 4px; }
h2 { font-size: 18px; margin: 40px 0 10px; }
p { margin: 6px 0; max-width: 78ch; }
.soft, figcaption, .note { color: var(--soft); font-size: 13.5px; }
.cards { display: grid; gap: 12px; margin: 20px 0 0;
  grid-template-columns: repeat(auto-fit, minmax(230px, 1fr)); }
.card, figure { background: var(--card); border: 1px solid var(--faint); border-radius: 8px; }
.card { padding: 12px 16px; border-left: 4px solid var(--line); }
.card h3 { font-size: 14px; margin: 0 0 6px; overflow-wrap: anywhere; }
.card .big { font-size: 26px; font-weight: 600; font-variant-numeric: tabular-nums; }
.card .big small { font-size: 13px; font-weight: 400; color: var(--soft); }
.warning { border: 1px solid var(--limit); border-radius: 8px; padding: 8px 14px;
  color: var(--limit); margin-top: 16px; max-width: none; }
.good { color: var(--good); } .bad { color: var(--bad); }
figure { margin: 14px 0; padding: 14px 16px 12px; }
figure h3 { font-size: 15px; margin: 0 0 2px; }
.scroll { overflow-x: auto; }
.scroll svg { min-width: 560px; }
svg { display: block; width: 100%; height: auto; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 4px 0; padding: 0;
  list-style: none; font-size: 13.5px; }
.legend i { display: inline-block; width: 14px; height: 4px; border-radius: 2px;
  margin-right: 7px; vertical-align: middle; background: currentColor; }
.legend .square i { height: 11px; width: 11px; }
.legend .cross i { background: none; height: auto; width: auto; font-style: normal; }
.legend .cross i::before { content: "\\00d7"; font-size: 17px; line-height: 1; }
.legend span { color: var(--ink); }
table { border-collapse: collapse; font-size: 13.5px; font-variant-numeric: tabular-nums;
  width: 100%; }
th, td { text-align: right; padding: 5px 8px; border-bottom: 1px solid var(--faint);
  white-space: nowrap; }
th.text, td.text { text-align: left; }
td.text { white-space: normal; min-width: 4.5em; overflow-wrap: anywhere; }
td.text:first-child { min-width: 9em; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
table.facts td { text-align: left; white-space: normal; }
table.facts td:first-child { white-space: nowrap; color: var(--soft); width: 1%; }
thead th { color: var(--soft); font-weight: 500; border-bottom-color: var(--line);
  white-space: normal; vertical-align: bottom; }
.pictures { display: grid; gap: 14px;
  grid-template-columns: repeat(auto-fill, minmax(220px, 1fr)); }
.pictures figure { margin: 0; padding: 10px; }
.pictures img { display: block; width: 100%; image-rendering: pixelated; border-radius: 4px; }
.pictures figcaption { margin-top: 6px; overflow-wrap: anywhere; }
text { fill: var(--ink); font-size: 12px; font-family: inherit; }
text.tick, text.title { fill: var(--soft); font-variant-numeric: tabular-nums; }
.grid { stroke: var(--faint); } .axis, .notch { stroke: var(--line); }
.line { fill: none; stroke: currentColor; stroke-width: 2; stroke-linejoin: round; }
.dots { fill: none; stroke: currentColor; stroke-width: 3.6; stroke-linecap: round;
  stroke-opacity: 0.75; }
.crosses { fill: none; stroke: currentColor; stroke-width: 2; }
.mark { fill: currentColor; }
text.levelname, text.name { paint-order: stroke; stroke: var(--card); stroke-width: 4px;
  stroke-linejoin: round; }
.level { fill: none; stroke-width: 1.5; stroke-dasharray: 6 4; }
.level.limit { stroke: var(--limit); } text.levelname.limit { fill: var(--limit); }
.level.between { stroke: var(--line); stroke-width: 1; stroke-dasharray: 2 3; }
.part { fill: currentColor; }
.missed { color: var(--bad); }
.s0 { color: var(--s0); } .s1 { color: var(--s1); } .s2 { color: var(--s2); }
.s3 { color: var(--s3); } .s4 { color: var(--s4); } .s5 { color: var(--s5); }
.card.again { border-left-style: dashed; } .line.again { stroke-dasharray: 7 4; }
.mark.again { fill: none; stroke: currentColor; stroke-width: 2.5; }
.legend .again { background: linear-gradient(90deg,
  currentColor 40%, transparent 40% 60%, currentColor 60%); }
.p0 { color: var(--p0); } .p1 { color: var(--p1); } .p2 { color: var(--p2); }
.p3 { color: var(--p3); }
.cards > .card { border-left-color: currentColor; }
.card > * { color: var(--ink); } .card > .soft { color: var(--soft); }
.card > .warning { border: 1px solid var(--limit); border-radius: 8px; padding: 8px 14px;
  color: var(--limit); margin-top: 16px; max-width: none; }
.good { color: var(--good); } .card > .bad { color: var(--bad); }
dt { font-weight: 600; margin-top: 8px; } dd { margin: 0 0 0 18px; color: var(--soft); }
@media print { figure, .card { break-inside: avoid; } }
"""
