// The result of a label check: the doubtful images, ranked, each with its given class, the class that it looks like, and what is to become of
// it. Applying the choices makes the next version of the dataset.

import { call, path, withQuery } from '../shared/api.js';
import { announce, fill, h, setText } from '../shared/dom.js';
import { formatCount, formatShare, plural } from '../shared/format.js';
import { confirmed, link, problemBox, tile } from '../shared/widgets.js';

const PAGE = 48;
const SIZE = 160;
/** A list of more classes would be too long to choose from; the suggested one is always offered. */
const CLASSES_OFFERED = 60;
const REASONS = { label: 'doubtful label', duplicate: 'same as another class', outlier: 'unlike all others', unsure: 'perhaps another class' };

export function labelCheckCard(job, found) {
  const choices = new Map();
  const rows = new Map();
  const grid = h('ul', { class: 'thumbnails doubts', 'data-testid': 'doubtful' });
  const more = h('button', { type: 'button', class: 'small', onclick: () => show() }, 'Show more');
  const count = h('span', { class: 'quiet', role: 'status' });
  const problem = h('div', {});
  const apply = h('button', { type: 'button', class: 'primary', 'data-testid': 'apply-labels', onclick: () => send() }, 'Apply');
  const suggested = h('button', { type: 'button', 'data-testid': 'take-suggestions', onclick: () => takeSuggestions() }, 'Relabel all doubtful labels shown');
  const tools = h('div', { class: 'actions' }, apply, suggested, count);
  let shown = 0;

  function show() {
    const next = found.listed.slice(shown, shown + PAGE);
    grid.append(...next.map(cell));
    shown += next.length;
    more.hidden = shown >= found.listed.length;
    update();
  }

  function cell(doubt) {
    const control = h('select', { 'aria-label': `What becomes of ${doubt.path}`, onchange: () => choose(doubt, control.value) },
      choicesFor(doubt, found.classes).map(([value, label]) => h('option', { value }, label)));
    rows.set(doubt.image, control);
    const source = withQuery(path('datasets', found.dataset.id, 'images', doubt.image), { size: SIZE, version: found.dataset.version });
    return h('li', { 'data-image': doubt.image },
      h('img', { src: source, alt: doubt.path, title: doubt.path, loading: 'lazy', decoding: 'async' }),
      h('p', { class: 'doubt' }, h('bdi', {}, doubt.given), looksLike(doubt)),
      h('p', { class: 'doubt quiet', title: about(doubt) }, REASONS[doubt.reason] ?? doubt.reason),
      control);
  }

  function choose(doubt, value) {
    if (value === 'keep') choices.delete(doubt.image);
    else choices.set(doubt.image, decisionOf(doubt, value));
    update();
  }

  function takeSuggestions() {
    for (const doubt of found.listed.slice(0, shown).filter(({ reason }) => reason === 'label')) {
      rows.get(doubt.image).value = `relabel:${doubt.suggested}`;
      choose(doubt, `relabel:${doubt.suggested}`);
    }
  }

  function update() {
    const removed = [...choices.values()].filter(({ action }) => action === 'remove').length;
    apply.disabled = choices.size === 0;
    setText(count, choices.size === 0
      ? `${formatCount(shown)} of ${plural(found.listed.length, 'image')} shown; all are kept as they are`
      : `${formatCount(choices.size - removed)} to relabel, ${formatCount(removed)} to remove`);
  }

  async function send() {
    const question = `Change ${plural(choices.size, 'image')} of ${found.dataset.name}? This makes the next version of the dataset; earlier versions keep them as they are.`;
    if (!await confirmed(question, 'Apply', { keep: 'Not yet', danger: false })) return;
    tools.inert = true;
    try {
      const next = await call('POST', path('datasets', found.dataset.id, 'label_check', 'apply'), { json: { job: job.id, images: [...choices.values()] } });
      announce(`Version ${next.version}`);
      fill(problem, h('div', { class: 'box box-good', 'data-testid': 'labels-applied' },
        h('p', {}, `Version ${next.version} of `, link(['datasets', next.id], h('bdi', {}, next.name)), ' has these changes.')));
      // The list is about the version that was checked.
      for (const control of rows.values()) control.disabled = true;
      more.hidden = true;
      fill(tools);
    } catch (refusal) {
      fill(problem, problemBox(refusal));
    }
    tools.inert = false;
  }

  show();
  return h('section', { class: 'card found', 'data-testid': 'label-check' },
    h('h2', {}, 'Labels'),
    numbers(found),
    h('p', { class: 'quiet' }, `Each image was judged by a head that has not seen it, on features of ${found.architecture} with the weights ${found.weights}. `
      + 'Images that are hard, but labelled rightly, are doubtful, too: look at them before you change anything.'),
    found.listed.length > 0 ? [tools, problem, grid, more] : h('p', {}, 'No label is doubtful.'));
}

function numbers({ images, agreement, found }) {
  return h('dl', { class: 'tiles' }, [
    tile('Images', formatCount(images)),
    tile('Judged as labelled', formatShare(agreement), 'label-agreement'),
    tile('Doubtful labels', formatCount(found.label), 'doubtful-labels'),
    tile('Same as another class', formatCount(found.duplicate)),
    tile('Unlike all others', formatCount(found.outlier)),
    tile('Perhaps another class', formatCount(found.unsure)),
  ].map((each) => each.node));
}

function looksLike({ given, suggested, confidence }) {
  return suggested === given ? [' ', h('span', { class: 'quiet' }, formatShare(confidence))]
    : [' → ', h('strong', {}, h('bdi', {}, suggested)), ' ', h('span', { class: 'quiet' }, formatShare(confidence))];
}

function about({ reason, duplicates, distance }) {
  if (reason === 'duplicate') return `Nearly the same as ${duplicates.map((image) => `image ${image}`).join(', ')}`;
  return reason === 'outlier' ? `Mean distance of the nearest images: ${distance.toFixed(3)}` : '';
}

/** What can become of an image, as options. */
function choicesFor({ given, suggested }, classes) {
  const names = classes.length <= CLASSES_OFFERED ? classes.map(({ name }) => name) : [];
  const others = [suggested, ...names].filter((name, index, all) => name !== given && all.indexOf(name) === index);
  return [['keep', 'Keep'], ...others.map((name) => [`relabel:${name}`, `Relabel: ${name}`]), ['remove', 'Remove']];
}

function decisionOf({ image: id }, value) {
  return value === 'remove' ? { id, action: 'remove' } : { id, action: 'relabel', class: value.slice('relabel:'.length) };
}
