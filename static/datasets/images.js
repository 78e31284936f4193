// The images of a dataset: a page of thumbnails with their labels, to browse, relabel, move to another split or remove.
// Every change makes the next version of the dataset, which is passed to `onChanged(dataset)`.

import { call, path, withQuery } from '../shared/api.js';
import { announce, fill, h, setText } from '../shared/dom.js';
import { formatCount, plural } from '../shared/format.js';
import { confirmed, problemBox } from '../shared/widgets.js';

const PAGE = 48;
const SIZE = 160;
const SPLITS = ['train', 'val', 'test'];

export function imagesCard(dataset, onChanged) {
  const chosen = new Set();
  const grid = h('ul', { class: 'thumbnails', 'data-testid': 'images' });
  const problem = h('div', {});
  const total = h('p', { class: 'quiet', role: 'status' });
  const more = h('button', { type: 'button', class: 'small', hidden: true, onclick: () => load() }, 'Show more');
  const classFilter = select('Class', [['', 'all classes'], ...dataset.classes.map(({ name }) => [name, name])], reload);
  const splitFilter = select('Split', [['', 'all splits'], ...SPLITS.map((split) => [split, split])], reload);
  const editing = editor();
  let last;
  let loading = 0;

  function reload() {
    chosen.clear();
    last = undefined;
    fill(grid);
    editing.update();
    load();
  }

  async function load() {
    const turn = ++loading;
    const query = { limit: PAGE, after: last, version: dataset.version, class: classFilter.value || null, split: splitFilter.value || null };
    try {
      const page = await call('GET', withQuery(path('datasets', dataset.id, 'images'), query));
      if (turn !== loading) return;
      grid.append(...page.data.map(cell));
      last = page.data.at(-1)?.id ?? last;
      more.hidden = !page.has_more;
      setText(total, `${formatCount(grid.childElementCount)} of ${plural(page.total, 'image')}`);
      fill(problem);
    } catch (refusal) {
      if (turn === loading) fill(problem, problemBox(refusal));
    }
  }

  function cell(image) {
    const source = withQuery(path('datasets', dataset.id, 'images', image.id), { size: SIZE, version: dataset.version });
    const box = h('input', {
      type: 'checkbox', 'aria-label': `Select ${image.path}`,
      onchange: () => {
        chosen[box.checked ? 'add' : 'delete'](image.id);
        editing.update();
      },
    });
    return h('li', {}, h('label', { title: image.path },
      h('img', { src: source, alt: image.path, loading: 'lazy', decoding: 'async' }),
      h('span', { class: 'thumbnail-label' }, box, h('bdi', {}, image.class ?? labels(image) ?? image.path), h('span', { class: 'quiet' }, image.split))));
  }

  /** The actions for the selected images. */
  function editor() {
    const labelled = dataset.classes.length > 0;
    const name = h('input', { list: 'dataset-classes', maxlength: 255, autocomplete: 'off', placeholder: 'class', 'aria-label': 'Class of the selected images', 'data-testid': 'new-class' });
    const known = h('datalist', { id: 'dataset-classes' }, dataset.classes.map((each) => h('option', { value: each.name })));
    const relabel = h('button', { type: 'button', 'data-testid': 'relabel', onclick: () => name.value.trim() && edit({ class: name.value.trim() }) }, 'Set class');
    const several = dataset.several_labels > 0 && h('button', {
      type: 'button', 'data-testid': 'set-labels', title: 'Labels between |; none of the classes if empty',
      onclick: () => edit({ labels: name.value.split('|').map((label) => label.trim()).filter(Boolean) }),
    }, 'Set labels');
    const split = select('Split of the selected images', SPLITS.map((each) => [each, each]));
    const move = h('button', { type: 'button', onclick: () => edit({ split: split.value }) }, 'Set split');
    const remove = h('button', {
      type: 'button', 'data-testid': 'remove-images', onclick: async () => {
        const question = `Remove ${plural(chosen.size, 'image')} from the dataset? Earlier versions keep them.`;
        if (await confirmed(question, 'Remove')) edit({ remove: true });
      },
    }, 'Remove');
    const count = h('span', { class: 'quiet' });
    const node = h('div', { class: 'actions image-tools', hidden: true, 'data-testid': 'edit-images' },
      count, labelled && [name, known, relabel, several], split, move, remove);
    return {
      node,
      update() {
        node.hidden = chosen.size === 0;
        setText(count, `${plural(chosen.size, 'image')} selected:`);
      },
    };
  }

  async function edit(change) {
    const images = [...chosen].map((id) => ({ id, ...change }));
    editing.node.inert = true;
    try {
      const next = await call('PATCH', path('datasets', dataset.id, 'images'), { json: { images } });
      announce(`Version ${next.version}`);
      onChanged(next);
    } catch (refusal) {
      fill(problem, problemBox(refusal));
    }
    editing.node.inert = false;
  }

  reload();
  return h('section', { class: 'card' }, h('h2', {}, 'Images'),
    h('div', { class: 'actions image-tools' }, classFilter, splitFilter, total), editing.node, problem, grid, more);
}

function labels({ labels: several }) {
  if (!several) return undefined;
  return several.length === 0 ? 'none' : several.join(' · ');
}

function select(label, options, onchange = () => {}) {
  return h('select', { 'aria-label': label, onchange }, options.map(([value, text]) => h('option', { value }, text)));
}
