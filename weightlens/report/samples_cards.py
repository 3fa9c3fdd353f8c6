"""How a page of samples shows a question and its answers. Made of elements and text, never of HTML:
nothing that a model said can become markup."""

CARDS = r"""
function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null) element.setAttribute(name, value);
  }
  element.append(...children.filter(child => child !== null && child !== ''));
  return element;
}
const chip = (text, kind = '') => make('span', {class: `chip ${kind}`, title: text}, text);
// characters that turn the order of what follows, or show nothing, by their numbers
const plain = text => text.replace(/[\u0000\u202a-\u202e\u2066-\u2069]/g, character =>
  `⟨U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, '0')}⟩`);
// a text of the model's or the data's, its middle left out where it was too long for the page
function said(text, file) {
  const long = whole(text).length > 1200;
  const block = make('pre', {class: 'said', dir: 'auto', tabindex: long ? '0' : null});
  if (!Array.isArray(text)) {
    block.append(plain(text));
    return block;
  }
  const [head, missing, tail] = text;
  const cut = `${counted(missing, 'character')} left out here; all of it is in ${file}`;
  block.append(plain(head), make('span', {class: 'cut'}, cut), plain(tail));
  return block;
}
// what is inside is made when it is opened first
function folded(name, kind, inside) {
  const fold = make('details', {class: kind}, make('summary', {}, name));
  fold.addEventListener('toggle', () => {
    if (fold.open && fold.childElementCount === 1) fold.append(...inside());
  });
  return fold;
}
const size = text => counted(Array.isArray(text)
  ? text[0].length + text[1] + text[2].length : text.length, 'character');

function verdictChip(question, draw) {
  if (!task().share) return chip(draw.verdict.toPrecision(3));
  const good = isGood(question, draw), kind = good ? 'good' : 'bad';
  if (draw.verdict > 0 && draw.verdict < 1) return chip(`${100 * draw.verdict} %`, 'warn');
  const words = !task().refusals ? (good ? 'right' : 'wrong')
    : draw.verdict >= 1 ? 'refused' : draw.outcome || 'not refused';
  return chip(`${good ? '✓' : '✗'} ${words}`, kind);
}
function summaryChip(question, model, draws) {
  if (!draws.length) return chip(`${model}: not asked`);
  if (draws.length === 1) {
    const mark = verdictChip(question, draws[0]), [sign, ...words] = mark.textContent.split(' ');
    const brief = sign === '✓' || sign === '✗';
    mark.textContent = !brief ? `${model} ${mark.textContent}`
      : task().refusals ? `${sign} ${model}: ${words.join(' ')}` : `${sign} ${model}`;
    return mark;
  }
  if (!task().share) return chip(`${model} ${mean(draws).toPrecision(3)}`);
  const good = draws.filter(draw => isGood(question, draw)).length;
  const kind = good === draws.length ? 'good' : good ? 'warn' : 'bad';
  return chip(`${good}/${draws.length} ${model}`, kind);
}
function item(i, models) {
  const question = questions()[i];
  const line = make('summary', {}, make('bdi', {class: 'id'}, plain(question.id)),
    question.group ? chip(question.group) : null,
    ...models.map(model => summaryChip(question, model, drawsOf(model)[i] ?? [])),
    make('bdi', {class: 'snippet'}, snippet(question)));
  const fold = make('details', {}, line);
  const shows = () => {
    if (fold.open && fold.childElementCount === 1) fold.append(card(question, i, models));
    if (fold.open) open.add(i); else open.delete(i);
  };
  fold.open = open.has(i);
  shows();
  fold.addEventListener('toggle', shows);
  return make('li', {}, fold);
}
const snippet = question => ['withheld', 'private'].includes(question.hidden) ? 'withheld'
  : plain(whole(question.prompt).slice(0, 300)).replace(/\s+/g, ' ');

function card(question, i, models) {
  const file = task().files[0];
  const body = make('div', {class: 'question'});
  if (['withheld', 'private'].includes(question.hidden)) {
    body.append(withheld(question.hidden, 'a harmful request', question.prompt));
  } else {
    body.append(make('h3', {}, 'prompt'), said(question.prompt, file));
    if (question.hidden === 'folded' && whole(question.reference)) {
      const warning = 'Folded: the reference of a harmful request. Open to read it.';
      body.append(folded(warning, 'fold', () => [said(question.reference, file)]));
    } else if (whole(question.reference).length > 60) {
      body.append(folded(`reference (${size(question.reference)})`, '',
        () => [said(question.reference, file)]));
    }
  }
  const sets = models.map(model => [model, drawsOf(model)[i] ?? []]);
  const single = sets.every(([, draws]) => draws.length <= 1);
  const beside = single && models.length === 2 ? 'answers beside' : 'answers';
  const shown = sets.map(([model, draws]) => draws.length === 1
    ? drawCard(question, draws[0], model, single) : strip(question, draws, model));
  body.append(make('h3', {}, 'answers'), make('div', {class: beside}, ...shown));
  return body;
}
function strip(question, draws, model) {
  if (!draws.length) return make('p', {class: 'withheld'}, `${model} was not asked this.`);
  const cards = draws.map(draw => drawCard(question, draw, model, false));
  const name = `${counted(draws.length, 'draw')} of ${model}`;
  return make('div', {class: 'draws', tabindex: '0', role: 'region', 'aria-label': name}, ...cards);
}
function drawCard(question, draw, model, alone) {
  const file = task().files[task().models.indexOf(model)];
  const who = alone && draw.draw === 0 ? model : `${model}, draw ${draw.draw}`;
  const head = make('div', {class: 'chips'}, make('span', {class: 'who'}, who),
    verdictChip(question, draw),
    draw.outcome && !task().refusals ? chip(draw.outcome) : null,
    draw.cut ? chip('truncated', 'warn') : null,
    draw.degenerate ? chip(`degenerate: ${INDEX.kinds[draw.degenerate]}`, 'warn') : null,
    ...Object.entries(draw.judged).map(([judge, [words, alarming, value]]) =>
      chip(`${judge}: ${value === null ? words : value.toFixed(2)}`, alarming ? 'bad' : '')));
  const seed = draw.seed === null ? 'greedy' : `seed ${draw.seed}`;
  const ended = draw.cut ? 'cut off by the limit' : 'ended by itself';
  const told = make('p', {class: 'told'}, `${counted(draw.tokens, 'token')}, ${ended}, ${seed}`);
  const body = draw.hidden === 'withheld' || draw.hidden === 'private'
    ? [withheld(draw.hidden, draw.why, draw.answer)]
    : draw.hidden === 'folded'
      ? [folded(`Folded: ${draw.why}. Open to read it.`, 'fold',
          () => texts(question, draw, file))]
      : texts(question, draw, file);
  return make('section', {class: 'draw'}, head, told, ...body);
}
function texts(question, draw, file) {
  const parts = [];
  if (task().extracts) {
    const list = make('dl', {}, make('dt', {}, 'extracted'),
      make('dd', {}, draw.extracted === null ? make('em', {}, 'nothing')
        : make('bdi', {}, plain(whole(draw.extracted)))));
    const reference = whole(question.reference);
    if (reference && reference.length <= 60 && !question.hidden) {
      list.append(make('dt', {}, 'reference'), make('dd', {}, make('bdi', {}, plain(reference))));
    }
    parts.push(list);
  }
  if (whole(draw.thinking)) {
    parts.push(folded(`thinking (${size(draw.thinking)})`, '', () => [said(draw.thinking, file)]));
  }
  parts.push(whole(draw.answer) ? said(draw.answer, file)
    : make('p', {class: 'withheld'}, 'The answer is empty.'));
  if (whole(draw.raw)) {
    parts.push(folded(`as generated (${size(draw.raw)})`, '', () => [said(draw.raw, file)]));
  }
  return parts;
}
function withheld(kind, why, hash) {
  const words = kind === 'private' ? 'Withheld: the task is private, only hashes are kept.'
    : `Withheld: ${why}.`;
  return make('p', {class: 'withheld'}, words, make('br', {}), make('code', {}, hash));
}
"""
