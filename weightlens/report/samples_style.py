"""What a page of samples has besides the style of every page."""

_LIGHT = "--good: #1b7a3d; --bad: #b3261e; --warn: #8a5a00;"
_DARK = "--good: #74cf92; --bad: #f2857d; --warn: #e3b45c;"

SAMPLES_STYLE = (
    f"""
:root {{ {_LIGHT} }}
@media (prefers-color-scheme: dark) {{ :root {{ {_DARK} }} }}
:root[data-theme=light] {{ {_LIGHT} }}
:root[data-theme=dark] {{ {_DARK} }}
"""
    + """
body { max-width: 1280px; }
[hidden] { display: none !important; }
.scroll { margin: 0 0 14px; }
th[scope=row] { font-weight: 600; background: var(--back); border-bottom: 1px solid var(--line); }
tr:last-child th[scope=row] { border-bottom: 0; }
table.scores th, table.scores td { vertical-align: top; }
table.scores th:first-child { position: sticky; left: 0; }
table.scores td, table.scores th:not(:first-child) { white-space: normal; min-width: 148px; }
table.scores th:first-child { min-width: min(150px, 28vw); max-width: 42vw; white-space: normal;
  overflow-wrap: anywhere; }
table.scores span, table.scores small.interval { white-space: nowrap; }
@media (max-width: 700px) {
  table.pairs, table.pairs tbody { display: block; } table.pairs thead { display: none; }
  table.pairs tr { display: flex; flex-wrap: wrap; align-items: baseline; gap: 1px 12px;
    padding: 8px 10px; border-bottom: 1px solid var(--line); }
  table.pairs td { padding: 0; border: 0; white-space: normal; overflow-wrap: anywhere; }
  table.pairs td.words { flex: 1 0 100%; }
  table.pairs td[data-name]::before { content: attr(data-name) " "; color: var(--soft); }
}
td.words { text-align: left; white-space: normal; min-width: 260px; }
small { font-weight: 400; }
button, select, input { font: inherit; font-size: .86rem; color: var(--ink);
  background: var(--card); border: 1px solid var(--line); border-radius: 6px; padding: 5px 9px; }
button { cursor: pointer; }
button:disabled { opacity: .45; cursor: default; }
:is(button, select, input, summary, [tabindex]):focus-visible {
  outline: 2px solid var(--mark); outline-offset: 1px; }
h2[tabindex]:focus-visible { outline: none; }
button.flips { padding: 0 8px; color: var(--mark); font-variant-numeric: tabular-nums; }
.controls { display: grid; gap: 8px 12px; margin: 8px 0;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 190px), 1fr)); }
.controls label { display: grid; gap: 2px; font-size: .8rem; color: var(--soft); min-width: 0; }
.controls label.search { grid-column: span 2; }
.controls select, .controls input { width: 100%; min-width: 0; }
@media (max-width: 440px) { .controls { grid-template-columns: 1fr 1fr; } }
.bar { display: flex; flex-wrap: wrap; align-items: center; gap: 8px; margin: 10px 0; }
.bar output { margin-right: auto; } .bar input { width: 5em; }
ol.questions { list-style: none; margin: 0; padding: 0; border-top: 1px solid var(--line); }
ol.questions > li { border-bottom: 1px solid var(--line); }
ol.questions > li > details { margin: 0; }
ol.questions > li > details > summary { display: flex; flex-wrap: wrap; align-items: baseline;
  gap: 2px 10px; padding: 7px 4px; font-weight: 400; }
ol.questions > li > details > summary::before { content: "▸"; color: var(--soft); }
ol.questions > li > details[open] > summary::before { content: "▾"; }
summary .id { font-weight: 600; overflow-wrap: anywhere; }
summary .snippet { flex: 1 1 200px; min-width: 0; overflow: hidden; white-space: nowrap;
  text-overflow: ellipsis; color: var(--soft); font-size: .88rem; }
.question { padding: 0 4px 16px; }
.chip { border: 1px solid var(--line); border-radius: 5px; padding: 0 7px; font-size: .8rem;
  white-space: nowrap; color: var(--soft); max-width: 100%; overflow: hidden;
  text-overflow: ellipsis; display: inline-block; vertical-align: bottom; }
.chip.good { color: var(--good); border-color: var(--good); }
.chip.bad { color: var(--bad); border-color: var(--bad); }
.chip.warn { color: var(--warn); border-color: var(--warn); }
.question h3 { font-size: .8rem; font-weight: 600; color: var(--soft); margin: 12px 0 3px; }
pre.said { white-space: pre-wrap; overflow-wrap: anywhere; margin: 0; max-height: 26rem;
  overflow: auto; font: .86rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
pre.said .cut { display: block; margin: 6px 0; padding: 3px 8px; color: var(--warn);
  border: 1px dashed var(--warn); border-radius: 5px; font-family: system-ui, sans-serif; }
.answers { display: grid; gap: 12px; grid-template-columns: minmax(0, 1fr); }
@media (min-width: 760px) {
  .answers.beside { grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); } }
.draws { display: grid; gap: 10px; grid-auto-flow: column; overflow-x: auto;
  grid-auto-columns: minmax(min(86vw, 320px), 1fr); padding: 2px 2px 6px; }
.draw { border: 1px solid var(--line); border-radius: 8px; padding: 10px 12px; min-width: 0; }
.draw > .chips { display: flex; flex-wrap: wrap; gap: 5px; align-items: baseline; }
.draw > .chips .who { font-weight: 600; overflow-wrap: anywhere; }
.draw p.told { margin: 4px 0 0; color: var(--soft); font-size: .8rem; overflow-wrap: anywhere; }
.draw dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: 2px 10px;
  margin: 8px 0; font-size: .86rem; }
.draw dt { color: var(--soft); }
.draw dd { margin: 0; overflow-wrap: anywhere; white-space: pre-wrap; max-height: 9rem;
  overflow: auto; }
.draw details { margin: 6px 0; } .draw summary, .question > details > summary {
  font-size: .84rem; font-weight: 600; color: var(--soft); }
details.fold > summary { color: var(--warn); }
p.withheld { color: var(--soft); font-size: .86rem; margin: 6px 0; overflow-wrap: anywhere; }
p.none { color: var(--soft); padding: 18px 4px; }
@media print { .controls, .bar { display: none; } }
"""
)
