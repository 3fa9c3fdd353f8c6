"""The style sheet of every page: light, dark, and chosen by hand; down to phone width."""

_LIGHT = (
    "--ink: #1c2430; --soft: #5a6675; --line: #d8dde4; --back: #ffffff; --card: #f6f8fa; "
    "--mark: #2e86ab; --alarm: #b3261e; color-scheme: light;"
)
_DARK = (
    "--ink: #e6eaf0; --soft: #9aa7b6; --line: #333c48; --back: #12161c; --card: #1a2028; "
    "--mark: #58a9cc; --alarm: #f2857d; color-scheme: dark;"
)

_RULES = """
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1080px; padding: 24px 16px 64px; background: var(--back);
       color: var(--ink); font: 16px/1.55 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 36px 0 8px; }
main:focus, section:focus { outline: none; } section { scroll-margin-top: 52px; }
a { color: var(--mark); }
a.skip { position: absolute; left: -9999px; } a.skip:focus { left: 16px; top: 8px; z-index: 3;
  padding: 6px 12px; background: var(--back); border: 2px solid var(--mark); border-radius: 6px; }
nav ul { display: flex; flex-wrap: wrap; gap: 2px 20px; list-style: none; margin: 0; padding: 0; }
nav[aria-label=sections] { margin: 12px 0 18px; padding: 8px 0; border-bottom: 1px solid
  var(--line); font-size: .9rem; }
nav a { display: inline-block; padding: 2px 0; text-decoration: none; }
nav a:hover { text-decoration: underline; }
@media (max-width: 600px) { nav ul { flex-wrap: nowrap; overflow-x: auto; white-space: nowrap;
  scrollbar-width: thin; } }
h3 { font-size: 1rem; margin: 20px 0 4px; overflow-wrap: anywhere; }
p.lead, p.note { color: var(--soft); margin-top: 0; } p.note { font-size: .9rem; }
ul { padding-left: 20px; } li { overflow-wrap: anywhere; }
p.alarm { border: 1px solid var(--alarm); border-left-width: 6px; border-radius: 8px;
          color: var(--alarm); font-weight: 600; padding: 8px 14px; }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: 8px; }
table { border-collapse: collapse; width: 100%; font-size: .88rem; font-variant-numeric:
        tabular-nums; }
th, td { text-align: right; padding: 5px 10px; border-bottom: 1px solid var(--line);
         white-space: nowrap; }
th:first-child, td:first-child, .left { text-align: left; } th { background: var(--card); }
tr:last-child td { border-bottom: 0; } tr.written td { font-weight: 600; }
tr.control td { color: var(--soft); } small { color: var(--soft); }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 12px;
      overflow-x: auto; font-size: .88rem; }
th button { all: unset; cursor: pointer; font-weight: 600; }
th button:focus-visible { outline: 2px solid var(--mark); }
th button[aria-sort]::after { content: " ↑"; }
th button[aria-sort=descending]::after { content: " ↓"; }
.figure { width: 100%; min-height: 180px; }
.panels { display: grid; gap: 8px 20px;
          grid-template-columns: repeat(auto-fit, minmax(min(100%, 430px), 1fr)); }
.panels.three { grid-template-columns: repeat(auto-fit, minmax(min(100%, 310px), 1fr)); }
.panels.wide { grid-template-columns: 100%; }
details { margin: 6px 0 14px; } summary { cursor: pointer; font-weight: 600; padding: 4px 0;
          overflow-wrap: anywhere; }
.scale span { display: inline-block; width: 120px; height: 10px; margin: 0 4px; border-radius: 3px;
              background: linear-gradient(90deg, #3e84c8, #f7f7f7, #da4a3e); }
figure { margin: 0; min-width: 0; } figcaption { font-size: .9rem; font-weight: 600; }
button.theme { float: right; margin: 2px 0 8px 16px; }
button.theme, .legend button, input[type=search] {
  font: inherit; font-size: .86rem; color: var(--ink); background: var(--card);
  border: 1px solid var(--line); border-radius: 6px; padding: 3px 10px; }
button.theme, .legend button { cursor: pointer; }
:is(a, button, input, summary, pre, .scroll):focus-visible {
  outline: 2px solid var(--mark); outline-offset: 2px; }
.legend { display: flex; flex-wrap: wrap; gap: 6px; margin: 6px 0 10px; }
.legend svg { width: 24px; height: 10px; margin-right: 6px; stroke-width: 3; }
.legend button[aria-pressed=false] { opacity: .55; text-decoration: line-through; }
.filter { display: flex; flex-wrap: wrap; align-items: center; gap: 12px; margin: 0 0 8px; }
.filter input { flex: 1 1 220px; max-width: 420px; padding: 6px 10px; }
.badge { border: 1px solid var(--line); border-radius: 4px; color: var(--soft); font-size: .8rem;
         margin-left: 8px; padding: 0 6px; }
@media print { button.theme, .filter, nav, a.skip { display: none; } }
"""

STYLE = f"""
:root {{ {_LIGHT} }}
@media (prefers-color-scheme: dark) {{ :root {{ {_DARK} }} }}
:root[data-theme=light] {{ {_LIGHT} }}
:root[data-theme=dark] {{ {_DARK} }}
{_RULES}"""
