"""What a page of samples does: choosing, filtering, paging. Everything a model said stays text."""

THEME = """
'use strict';
const root = document.documentElement, themeButton = document.querySelector('button.theme');
const prefersDark = matchMedia('(prefers-color-scheme: dark)');
function showTheme() {
  const dark = root.dataset.theme ? root.dataset.theme === 'dark' : prefersDark.matches;
  themeButton.textContent = dark ? 'Light theme' : 'Dark theme';
  return dark ? 'light' : 'dark';
}
themeButton.addEventListener('click', () => { root.dataset.theme = showTheme(); showTheme(); });
prefersDark.addEventListener('change', showTheme);
showTheme();
"""

READING = r"""
const $ = id => document.getElementById(id);
const parsed = id => JSON.parse($(id).textContent);
const INDEX = parsed('samples');
const named = (fields, row) => Object.fromEntries(fields.map((name, i) => [name, row[i]]));
const kept = new Map();
function once(id, make) {
  if (!kept.has(id)) kept.set(id, make());
  return kept.get(id);
}
const task = () => INDEX.tasks[$('task').value];
const questions = () => once(`questions-${$('task').value}`, () =>
  parsed(`questions-${$('task').value}`).map(row => named(INDEX.questionFields, row)));
// a model's draws on the chosen task, question by question
function drawsOf(model) {
  const place = task().models.indexOf(model);
  if (place < 0) return [];
  const id = `draws-${$('task').value}-${place}`;
  return once(id, () => {
    const byQuestion = questions().map(() => []);
    for (const row of parsed(id)) {
      const draw = named(INDEX.drawFields, row);
      byQuestion[draw.question].push(draw);
    }
    return byQuestion;
  });
}
const chosen = () => [$('a').value, $('b').value].filter(Boolean);
const whole = text => Array.isArray(text) ? `${text[0]} ${text[2]}` : text ?? '';
const isGood = (question, draw) => question.good ? draw.verdict >= 1 : draw.verdict <= 0;
const mean = draws => draws.reduce((sum, draw) => sum + draw.verdict, 0) / draws.length;
// above 0 where the first model is better on a question, not a number where one was not asked
const lead = (question, [first, second]) =>
  (mean(first ?? []) - mean(second ?? [])) * (question.good ? 1 : -1);
const sum = numbers => numbers.reduce((total, n) => total + n, 0);
const counted = (n, noun) => `${n.toLocaleString('en')} ${noun}${n === 1 ? '' : 's'}`;
"""

CHOOSING = r"""
const PAGE = 25;
let found = [], page = 0;
const open = new Set();
function fill(select, options) {
  const before = select.value;
  select.replaceChildren(...options.map(([value, text]) => new Option(text, value)));
  select.value = before;
  if (select.selectedIndex < 0) select.selectedIndex = 0;
}
// options of a filter, with how many draws there are of each; hidden where there is no choice
function offer(id, all, texts, counts) {
  const options = [...counts].filter(([value]) => value !== '')
    .map(([value, n]) => [value, `${texts[value] ?? value} (${n})`]);
  fill($(id), [['', all], ...options]);
  $(id).parentElement.hidden = options.length === 0;
}
function tally(items, key) {
  const counts = new Map();
  for (const item of items) {
    for (const value of [key(item)].flat()) counts.set(value, (counts.get(value) ?? 0) + 1);
  }
  return counts;
}
const judgements = draw => Object.entries(draw.judged).map(([judge, [words]]) =>
  `${judge}: ${words}`);
function endings(draw) {
  const kinds = draw.cut ? ['truncated'] : [];
  return draw.degenerate ? [...kinds, 'degenerate', draw.degenerate] : kinds;
}
function offerShows(models, byModel) {
  const good = task().refusals ? 'as wanted' : 'right', bad = task().refusals ? 'not as wanted'
    : 'wrong';
  const shows = task().share ? [['good', good], ['bad', bad]] : [];
  if (models.length === 2) {
    const leads = questions().map((question, i) => lead(question, byModel.map(draws => draws[i])));
    const [a, b] = models;
    shows.push(['a', `${a} better than ${b} (${leads.filter(gap => gap > 0).length})`],
      ['b', `${b} better than ${a} (${leads.filter(gap => gap < 0).length})`],
      ['differ', `one better (${leads.filter(gap => gap).length})`]);
  }
  fill($('show'), [['', 'all'], ...shows]);
}
function chose() {
  const models = chosen(), byModel = models.map(drawsOf), draws = byModel.flat(2);
  offerShows(models, byModel);
  offer('group', 'all', {}, tally(questions(), question => question.group));
  offer('outcome', 'any', {}, tally(draws, draw => draw.outcome));
  const names = Object.fromEntries(Object.entries(INDEX.kinds).map(([kind, name]) =>
    [kind, `degenerate: ${name}`]));
  offer('ending', 'any', {...names, degenerate: 'degenerate, all'}, tally(draws, endings));
  offer('judged', 'any', {}, tally(draws, judgements));
  open.clear();
  filter();
}
function drawTest() {
  const show = $('show').value, outcome = $('outcome').value, ending = $('ending').value;
  const judged = $('judged').value;
  const words = $('search').value.toLowerCase().split(/\s+/).filter(Boolean);
  return (question, draw) => {
    if (show === 'good' && !isGood(question, draw)) return false;
    if (show === 'bad' && isGood(question, draw)) return false;
    if (outcome && draw.outcome !== outcome) return false;
    if (ending && !endings(draw).includes(ending)) return false;
    if (judged && !judgements(draw).includes(judged)) return false;
    if (!words.length) return true;
    const text = [question.id, ...[question.prompt, question.reference, draw.extracted, draw.answer,
      draw.thinking, draw.raw].map(whole)].join('\n').toLowerCase();
    return words.every(word => text.includes(word));
  };
}
function questionTest(byModel) {
  const show = $('show').value, group = $('group').value;
  return (question, i) => {
    if (group && question.group !== group) return false;
    if (!['a', 'b', 'differ'].includes(show)) return true;
    const gap = lead(question, byModel.map(draws => draws[i]));
    return show === 'a' ? gap > 0 : show === 'b' ? gap < 0 : gap > 0 || gap < 0;
  };
}
function filter() {
  const byModel = chosen().map(drawsOf), ofQuestion = questionTest(byModel), ofDraw = drawTest();
  let draws = 0, asked = 0, total = 0;
  found = [];
  questions().forEach((question, i) => {
    const own = byModel.flatMap(model => model[i] ?? []);
    if (!own.length) return;
    asked += 1;
    total += own.length;
    if (!ofQuestion(question, i)) return;
    const matching = own.filter(draw => ofDraw(question, draw)).length;
    if (matching) found.push(i);
    draws += matching;
  });
  $('count').textContent = `${found.length.toLocaleString('en')} of ${counted(asked, 'question')}, `
    + `${draws.toLocaleString('en')} of ${counted(total, 'draw')}`;
  page = 0;
  list();
}
function turn(to) {
  const last = Math.max(0, Math.ceil(found.length / PAGE) - 1);
  page = Math.min(Math.max(0, Number.isNaN(to) ? 0 : to), last);
  $('page').value = page + 1;
  $('page').max = last + 1;
  $('pages').textContent = `of ${(last + 1).toLocaleString('en')}`;
  $('previous').disabled = $('first').disabled = page === 0;
  $('next').disabled = $('last').disabled = page === last;
}
function list() {
  turn(page);
  const models = chosen(), shown = found.slice(page * PAGE, (page + 1) * PAGE);
  $('questions').replaceChildren(...shown.map(i => item(i, models)));
  $('none').hidden = shown.length > 0;
}
"""

WIRING = r"""
function goTo(to) {
  page = to;
  list();
}
// one model is never beside itself: the other menu takes what this one had
function swapped(changed, other) {
  let before = $(changed).value;
  $(changed).addEventListener('change', () => {
    if ($(changed).value === $(other).value) {
      $(other).value = before || INDEX.models.find(name => name !== $(changed).value);
      $(other).dispatchEvent(new Event('swapped'));
    }
    before = $(changed).value;
    chose();
  });
  $(changed).addEventListener('swapped', () => { before = $(changed).value; });
}
fill($('task'), INDEX.tasks.map((one, i) => [i, one.name]));
fill($('a'), INDEX.models.map(name => [name, name]));
fill($('b'), [['', 'none'], ...INDEX.models.map(name => [name, name])]);
$('b').value = INDEX.models[1] ?? '';
$('b').parentElement.hidden = INDEX.models.length < 2;
swapped('a', 'b');
swapped('b', 'a');
$('task').addEventListener('change', chose);
for (const id of ['show', 'group', 'outcome', 'ending', 'judged']) {
  $(id).addEventListener('change', filter);
}
let typing = 0;
$('search').addEventListener('input', () => {
  clearTimeout(typing);
  typing = setTimeout(filter, 120);
});
$('first').addEventListener('click', () => goTo(0));
$('previous').addEventListener('click', () => goTo(page - 1));
$('next').addEventListener('click', () => goTo(page + 1));
$('last').addEventListener('click', () => goTo(Infinity));
$('page').addEventListener('change', () => goTo(Math.trunc(Number($('page').value)) - 1));
$('reset').addEventListener('click', () => {
  for (const id of ['show', 'group', 'outcome', 'ending', 'judged', 'search']) $(id).value = '';
  filter();
});
$('unfold').addEventListener('click', () => {
  for (const fold of $('questions').querySelectorAll(':scope > li > details')) fold.open = true;
});
for (const button of document.querySelectorAll('button.flips')) {
  button.addEventListener('click', () => {
    const {task: name, a, b, group, show} = button.dataset;
    $('task').value = INDEX.tasks.findIndex(one => one.name === name);
    $('a').value = a;
    $('b').value = b;
    for (const id of ['a', 'b']) $(id).dispatchEvent(new Event('swapped'));
    for (const id of ['group', 'outcome', 'ending', 'judged', 'search']) $(id).value = '';
    chose();
    $('group').value = group;
    $('show').value = show;
    filter();
    $('samples-heading').focus();
    $('samples-heading').scrollIntoView();
  });
}
chose();
"""
