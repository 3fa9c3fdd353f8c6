"""What a report has besides the style of every page: the verdict, blocks of bars, facts."""

REPORT_STYLE = """
body { max-width: 1120px; }
p.verdict { font-size: 1.3rem; line-height: 1.4; margin: 4px 0 14px; max-width: 46em;
  text-wrap: pretty; overflow-wrap: anywhere; }
ul.findings { list-style: none; margin: 20px 0 14px; padding: 0; max-width: 60em; }
ul.findings li { display: grid; grid-template-columns: 1.4em minmax(0, 1fr); padding: 2px 0;
  font-size: .94rem; }
ul.findings .sign { font-weight: 700; color: var(--soft); }
ul.findings .good .sign { color: var(--good); } ul.findings .bad .sign { color: var(--bad); }
.blocks { display: grid; gap: 20px 36px; margin: 18px 0 8px;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 440px), 1fr)); }
.block h3 { margin: 0 0 6px; padding-bottom: 5px; border-bottom: 1px solid var(--line); }
.block h3 small { display: block; font-weight: 400; font-size: .8rem; }
table.bars { width: 100%; }
table.bars th, table.bars td { border: 0; background: none; padding: 3px 0; font-weight: 400;
  vertical-align: top; line-height: 1.4; }
table.bars th { width: 1%; min-width: 9.5em; max-width: 13em; padding-right: 14px;
  white-space: normal; overflow-wrap: break-word; }
table.bars .kind { white-space: nowrap; margin-left: 3px; }
table.bars tr.strong :is(th, td.value) { font-weight: 700; }
table.bars td.track { width: 99%; min-width: 44px; padding-right: 12px; }
table.bars td.track > span { display: block; position: relative; height: 12px; margin-top: 4px;
  border-radius: 2px; background: var(--card); box-shadow: inset 0 0 0 1px var(--line); }
table.bars td.track i { position: absolute; top: 0; bottom: 0; }
table.bars .fill { left: 0; background: var(--mark); opacity: .38; border-radius: 2px; }
table.bars .strong .fill { opacity: .85; }
table.bars .span { top: 5px !important; bottom: 5px !important; min-width: 1px;
  background: var(--ink); }
table.bars .mark { width: 0; border-left: 2px dotted var(--ink); top: -3px !important;
  bottom: -3px !important; }
table.bars td.value { min-width: 3.2em; }
table.bars td.interval { color: var(--soft); font-size: .8rem; padding: 4px 0 2px 10px;
  min-width: 7.6em; text-align: left; }
table.bars tr.remark td { color: var(--soft); font-size: .78rem; padding: 0 0 4px;
  text-align: left; white-space: normal; }
@media (max-width: 480px) {
  table.bars th { min-width: 5.2em; max-width: 7.4em; padding-right: 8px; }
  table.bars td.track { padding-right: 8px; } table.bars .kind { margin: 0; }
  table.bars td.interval { padding-left: 6px; min-width: 0; font-size: .76rem; }
}
dl.facts { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: 4px 20px;
  margin: 8px 0 16px; font-size: .9rem; }
dl.facts dt { color: var(--soft); }
dl.facts dd { margin: 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
@media (max-width: 480px) { dl.facts { grid-template-columns: minmax(0, 1fr); gap: 0; }
  dl.facts dd { margin-bottom: 6px; } }
.copied { position: relative; } .copied button { position: absolute; top: 8px; right: 8px; }
p.note.open { border-left: 3px solid var(--warn); padding-left: 12px; }
th[scope=row] { background: none; font-weight: 600; }
@media print { .copied button { display: none; } }
"""
