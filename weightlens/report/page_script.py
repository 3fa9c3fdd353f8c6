"""What a page does when it is used: themes, legends, sorting and filtering. No network."""

FIGURES = """
const prefersDark = window.matchMedia('(prefers-color-scheme: dark)');
const root = document.documentElement, themeButton = document.querySelector('button.theme');
function themed(layout) {
  const style = getComputedStyle(root), read = name => style.getPropertyValue(name).trim();
  const update = {paper_bgcolor: 'rgba(0,0,0,0)', plot_bgcolor: 'rgba(0,0,0,0)',
    'font.color': read('--ink'), 'font.family': 'system-ui, sans-serif', 'font.size': 12,
    'hoverlabel.font.family': 'system-ui, sans-serif'};
  for (const axis of Object.keys(layout).filter(key => /^[xy]axis/.test(key))) {
    update[`${axis}.gridcolor`] = update[`${axis}.zerolinecolor`] = read('--line');
  }
  return update;
}
function drawFigures() {
  for (const [id, figure] of Object.entries(FIGURES)) {
    const layout = {xaxis: {}, yaxis: {}, ...figure.layout};
    for (const [key, value] of Object.entries(themed(layout))) {
      const path = key.split('.'), last = path.pop();
      path.reduce((inside, name) => inside[name] ??= {}, layout)[last] = value;
    }
    Plotly.newPlot(id, figure.data, layout, {responsive: true, displayModeBar: false});
  }
}
function showTheme() {
  const dark = root.dataset.theme ? root.dataset.theme === 'dark' : prefersDark.matches;
  themeButton.textContent = dark ? 'Light theme' : 'Dark theme';
  return dark ? 'light' : 'dark';
}
function repaint() {
  showTheme();
  for (const id of Object.keys(FIGURES)) {
    Plotly.relayout(id, themed(document.getElementById(id).layout));
  }
}
themeButton.addEventListener('click', () => { root.dataset.theme = showTheme(); repaint(); });
for (const fold of document.querySelectorAll('details')) {
  fold.addEventListener('toggle', () => {
    for (const plot of fold.querySelectorAll('.figure')) Plotly.Plots.resize(plot);
  });
}
prefersDark.addEventListener('change', repaint);
showTheme();
drawFigures();
"""

LEGENDS = """
for (const legend of document.querySelectorAll('.legend')) {
  const buttons = [...legend.querySelectorAll('button')];
  const on = button => button.getAttribute('aria-pressed') === 'true';
  function show() {
    const off = buttons.filter(b => !on(b)).map(b => b.dataset.key);
    for (const id of legend.dataset.figures.split(' ')) {
      const traces = document.getElementById(id).data;
      Plotly.restyle(id, {visible: traces.map(t => !(t.meta ?? []).some(k => off.includes(k)))});
    }
  }
  for (const button of buttons) {
    button.addEventListener('click', () => {
      button.setAttribute('aria-pressed', !on(button));
      show();
    });
    button.addEventListener('dblclick', () => {
      const rest = buttons.filter(b => b !== button && b.dataset.group === button.dataset.group);
      const alone = on(button) && !rest.some(on);
      for (const other of rest) other.setAttribute('aria-pressed', alone);
      button.setAttribute('aria-pressed', true);
      show();
    });
  }
}
"""

TABLES = """
for (const table of document.querySelectorAll('table.sortable')) {
  const body = table.tBodies[0];
  table.tHead.rows[0].querySelectorAll('button').forEach((button, i) => {
    button.addEventListener('click', () => {
      const up = button.getAttribute('aria-sort') !== 'ascending';
      table.querySelectorAll('button').forEach(b => b.removeAttribute('aria-sort'));
      button.setAttribute('aria-sort', up ? 'ascending' : 'descending');
      const key = row => row.cells[i].dataset.value ?? row.cells[i].textContent;
      const rows = [...body.rows].map(row => [key(row), row]).sort(([x], [y]) => {
        if (x === '' || y === '') return (x === '') - (y === '');  // unknown ones last
        return (isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y) * (up ? 1 : -1);
      });
      body.append(...rows.map(([, row]) => row));
    });
  });
}
for (const filter of document.querySelectorAll('.filter')) {
  const input = filter.querySelector('input'), count = filter.querySelector('output');
  const rows = [...document.getElementById(input.getAttribute('aria-controls')).tBodies[0].rows];
  const names = rows.map(row => (row.cells[0].textContent + ' ' + row.cells[1].textContent)
    .toLowerCase());
  function show() {
    const words = input.value.toLowerCase().split(/\\s+/).filter(Boolean);
    let shown = 0;
    rows.forEach((row, i) => {
      row.hidden = !words.every(word => names[i].includes(word));
      shown += !row.hidden;
    });
    count.textContent = `${shown} of ${rows.length} rows`;
  }
  input.addEventListener('input', show);
  show();
}
"""
