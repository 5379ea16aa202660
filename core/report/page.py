"""The look of the report: one HTML page with everything inside, for phones and wide screens."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

_STYLE = """
:root{color-scheme:light dark;--bg:#faf9f7;--card:#fff;--ink:#1d1d22;--soft:#6a6a75;--line:#e4e2dd;
--ours:#c2410c;--peer:#4b6584;--good:#15803d;--bad:#b91c1c}
@media(prefers-color-scheme:dark){:root{--bg:#131316;--card:#1c1c21;--ink:#ececf0;--soft:#9a9aa6;
--line:#303038;--ours:#fb923c;--peer:#93b4d8;--good:#4ade80;--bad:#f87171}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);
font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:72rem;margin:0 auto;padding:1.25rem 1rem 4rem}
h1{font-size:1.7rem;line-height:1.2;margin:.6rem 0 .3rem}
h2{font-size:1.25rem;margin:2.4rem 0 .4rem}
h3{font-size:1rem;margin:1.4rem 0 .4rem;overflow-wrap:anywhere}.card h3{margin-top:0}
p{margin:.4rem 0;max-width:46rem}
.soft{color:var(--soft);font-size:.9rem}
.warn{border-left:4px solid var(--ours);padding:.5rem .8rem;background:var(--card);max-width:46rem}
nav{display:flex;flex-wrap:wrap;gap:.4rem;margin:.8rem 0}
nav a{color:inherit;text-decoration:none;border:1px solid var(--line);border-radius:99px;
padding:.2rem .75rem;font-size:.85rem;background:var(--card)}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,21rem),1fr));gap:.8rem}
.card{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:.8rem;
min-width:0}
.clip{margin-bottom:.9rem}
.version{border-top:1px solid var(--line);padding:.6rem 0 .1rem}
.versions{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,19rem),1fr));
column-gap:1rem}
b.ours{color:var(--ours)}
audio{width:100%;height:36px;display:block;margin:.3rem 0}
img.spec{width:100%;height:96px;display:block;border-radius:6px;background:#000}
img.codes{width:100%;height:42px;display:block;border-radius:6px;image-rendering:pixelated}
.chips{display:flex;flex-wrap:wrap;gap:.15rem .7rem;font-size:.8rem;color:var(--soft);
margin:.3rem 0;font-variant-numeric:tabular-nums}
.scroll{overflow-x:auto;-webkit-overflow-scrolling:touch;margin:.6rem 0}
table{border-collapse:collapse;font-size:.82rem;font-variant-numeric:tabular-nums;
background:var(--card)}
th,td{padding:.35rem .6rem;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}
th:first-child,td:first-child{text-align:left;position:sticky;left:0;background:var(--card)}
td small{color:var(--soft)}
svg.chart{width:100%;height:auto;display:block}
svg text{font:12px system-ui,sans-serif;fill:var(--ink)}
svg .tick{fill:var(--soft);font-size:10.5px}
svg .title{font-weight:600}
svg .grid{stroke:var(--line);stroke-width:1}
svg line.ours,svg line.peer{stroke-width:3;stroke-linecap:round}
svg line.ours{stroke:var(--ours);opacity:.55}svg line.peer{stroke:var(--peer);opacity:.5}
svg circle.ours{fill:var(--ours)}svg circle.peer{fill:var(--peer)}
svg text.ours{fill:var(--ours)}
svg .curve{fill:none;stroke:var(--ours);stroke-width:1.6;stroke-linejoin:round}
.good{color:var(--good)}.bad{color:var(--bad)}
ul{padding-left:1.2rem;max-width:46rem}li{margin:.2rem 0;overflow-wrap:anywhere}
details{margin:.7rem 0}details summary{cursor:pointer;color:var(--soft)}
"""

# Starting one player stops the one before: versions of a clip are compared by ear.
_SCRIPT = """
document.addEventListener('play',e=>{document.querySelectorAll('audio').forEach(a=>{
if(a!==e.target)a.pause()})},true);
"""


def page(title: str, body: str) -> str:
    """A whole HTML document."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body><main>{body}</main><script>{_SCRIPT}</script></body></html>"
    )


def html_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table that scrolls sideways on a phone; cells are HTML already."""
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return (
        f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody>'
        "</table></div>"
    )


def section(anchor: str, title: str, *parts: str) -> str:
    """A section with a heading, or nothing when all its parts are empty."""
    content = "".join(parts)
    return f'<h2 id="{anchor}">{escape(title)}</h2>{content}' if content else ""
