"""The colours and rules of the page: light and dark, from a phone's width on."""

# Every colour of text and its ground, in both schemes; a test measures the contrast of each pair.
LIGHT = {
    "ground": "#ffffff", "panel": "#f6f8fa", "text": "#1b1f24", "muted": "#545d68",
    "edge": "#d0d7de", "accent": "#0a5fb4", "good": "#1a6e35", "warn": "#8a4600", "bad": "#b3261e",
}  # fmt: skip
DARK = {
    "ground": "#14171a", "panel": "#1c2025", "text": "#e6e8ea", "muted": "#a5aeb8",
    "edge": "#3a424b", "accent": "#6cb2f5", "good": "#7ccf93", "warn": "#e8a657", "bad": "#ff8a80",
}  # fmt: skip
WORDS = ("text", "muted", "accent", "good", "warn", "bad")  # colours that words have

RULES = """
* { box-sizing: border-box; }
body { margin: 0; overflow-wrap: anywhere; background: var(--ground); color: var(--text);
  font: 15px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main, header, footer { max-width: 1180px; margin: 0 auto; padding: 0 16px; }
header { padding-top: 18px; }
h1 { font-size: 1.5rem; margin: 0 0 2px; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 0 0 8px; padding-top: 14px; border-top: 1px solid var(--edge); }
h3 { font-size: 1rem; margin: 18px 0 6px; }
p { margin: 6px 0; max-width: 78ch; overflow-wrap: anywhere; }
section { margin-top: 22px; }
a { color: var(--accent); }
nav ul { display: flex; flex-wrap: wrap; gap: 2px 16px; list-style: none; padding: 0;
  margin: 8px 0; }
nav a { display: inline-block; padding: 4px 0; }
code { font: 0.92em ui-monospace, SFMono-Regular, Menlo, Consolas, monospace;
  background: var(--panel); padding: 1px 4px; border-radius: 3px; overflow-wrap: anywhere; }
ul { padding-left: 20px; margin: 6px 0; } li { max-width: 78ch; overflow-wrap: anywhere; }
.muted { color: var(--muted); } .good { color: var(--good); } .warn { color: var(--warn); }
.bad { color: var(--bad); } .good, .warn, .bad { font-weight: 600; }
.next { background: var(--panel); border-left: 3px solid var(--accent); padding: 8px 12px;
  margin: 12px 0; max-width: none; }
dl.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 250px), 1fr));
  gap: 10px 22px; margin: 8px 0; }
dl.facts div { min-width: 0; } dt { color: var(--muted); font-size: 0.86rem; }
dd { margin: 0; overflow-wrap: anywhere; } dd b { font-size: 1.15rem; }
dd .small { display: block; color: var(--muted); font-size: 0.86rem; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 330px), 1fr));
  gap: 14px 22px; margin: 8px 0; }
figure { margin: 0; min-width: 0; } figcaption { font-size: 0.9rem; overflow-wrap: anywhere; }
svg { display: block; width: 100%; height: auto; } svg text { fill: var(--muted); font-size: 11px; }
.grid { stroke: var(--edge); stroke-width: 1; } .bar { fill: var(--accent); opacity: 0.75; }
.line { fill: none; stroke: var(--accent); stroke-width: 1.8; stroke-linejoin: round; }
.line.second { stroke: var(--warn); }
.band { fill: var(--accent); opacity: 0.18; } .whisker { stroke: var(--accent); stroke-width: 1.4; }
.whisker.second { stroke: var(--warn); } .whisker.faint { stroke: var(--muted); opacity: 0.6; }
circle.dot { fill: var(--accent); } circle.second { fill: var(--warn); }
circle.alarm { fill: var(--bad); } circle.faint { fill: var(--muted); opacity: 0.7; }
.threshold { stroke: var(--bad); stroke-width: 1.2; stroke-dasharray: 5 4; }
svg text.mark { fill: var(--bad); } .moment { stroke: var(--muted); stroke-dasharray: 2 3; }
.gauge { height: 10px; max-width: 220px; margin: 4px 0; } .rail { fill: var(--edge); }
.range { fill: var(--accent); opacity: 0.45; } .value { fill: var(--text); }
.scrolls { overflow-x: auto; margin: 8px 0; }
table { border-collapse: collapse; font-size: 0.9rem; }
caption { text-align: left; font-weight: 600; padding: 2px 0; }
.beside { display: flex; flex-wrap: wrap; gap: 4px 44px; } .beside > div { max-width: 100%; }
th, td { padding: 3px 10px 3px 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--edge); }
thead th { color: var(--muted); font-weight: 600; } tbody th { font-weight: 500; }
td, th { max-width: 46ch; overflow-wrap: break-word; }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.matrix td, .matrix th { text-align: right; padding: 3px 7px; border: 1px solid var(--edge); }
.matrix td { font-variant-numeric: tabular-nums; }
.matrix .right { background: color-mix(in srgb, var(--good) var(--much), var(--ground)); }
.matrix .wrong { background: color-mix(in srgb, var(--bad) var(--much), var(--ground)); }
.matrix .none { color: var(--muted); }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(104px, 1fr));
  gap: 12px; margin: 8px 0; }
.pictures figcaption span { display: block; font-size: 0.8rem; }
.pictures img, .gone { width: 96px; height: 96px; object-fit: contain; background: var(--panel); }
.pictures img.tiny { image-rendering: pixelated; }
.gone { font-size: 0.72rem; color: var(--muted); overflow: hidden; padding: 4px; }
details { margin: 6px 0; } summary { cursor: pointer; color: var(--accent); padding: 4px 0; }
footer { margin-top: 26px; padding-bottom: 26px; color: var(--muted); font-size: 0.86rem; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
@media (max-width: 640px) {
  .cards thead { position: absolute; width: 1px; height: 1px; overflow: hidden;
    clip-path: inset(50%); }
  .matrix { font-size: 0.78rem; } .matrix td, .matrix th { padding: 3px 4px; }
  .cards, .cards caption, .cards tbody, .cards tr, .cards th, .cards td { display: block;
    max-width: none; }
  .cards tr { border-bottom: 1px solid var(--edge); padding: 6px 0; }
  .cards th, .cards td { border: 0; padding: 1px 0; text-align: left; white-space: normal;
    overflow-wrap: anywhere; }
  .cards tbody th { font-weight: 600; }
  .cards td.number { display: inline-block; margin-right: 16px; }
  .cards td::before { content: attr(data-name) ": "; color: var(--muted); }
}
@media print { details { display: none; } }
"""


def style_sheet() -> str:
    """The rules, with the colours of both schemes."""
    dark = f"@media (prefers-color-scheme: dark) {{ :root {{ {_variables(DARK)} }} }}"
    return f":root {{ color-scheme: light dark; {_variables(LIGHT)} }}\n{dark}\n{RULES}"


def _variables(colours: dict[str, str]) -> str:
    return " ".join(f"--{name}: {value};" for name, value in colours.items())
