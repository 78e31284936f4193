// What to know before an alias is moved: the current model beside the new one, and how their classes differ.

import { h } from '../shared/dom.js';
import { formatCount, formatShare, plural } from '../shared/format.js';

const CLASSES_NAMED = 12;

/** A comparison for a confirmation; `before` is null if the alias is new. */
export function comparison(before, after) {
  const models = before ? [before, after] : [after];
  const rows = FACTS.map(([name, fact]) => h('tr', {}, h('th', { scope: 'row' }, name),
    models.map((model) => h('td', {}, h('bdi', {}, fact(model))))));
  const columns = before ? ['Now', 'After'] : ['After'];
  return h('div', { class: 'stack', 'data-testid': 'comparison' },
    h('div', { class: 'scroll' }, h('table', {},
      h('thead', {}, h('tr', {}, h('td', {}), columns.map((name) => h('th', { scope: 'col' }, name)))),
      h('tbody', {}, rows))),
    before ? classChange(before.card.classes, after.card.classes) : h('p', { class: 'quiet' }, 'There is no such alias yet.'));
}

/**
 * How two lists of classes differ: which were `added`, which are `missing`, and which are `moved`, that is, at another index
 * of the outputs: `[name, from, to]`.
 */
export function classDifference(before, after) {
  const [placesBefore, placesAfter] = [before, after].map((names) => new Map(names.map((name, place) => [name, place])));
  return {
    added: after.filter((name) => !placesBefore.has(name)),
    missing: before.filter((name) => !placesAfter.has(name)),
    moved: after.filter((name) => placesBefore.has(name) && placesBefore.get(name) !== placesAfter.get(name))
      .map((name) => [name, placesBefore.get(name), placesAfter.get(name)]),
  };
}

/** The display name of a model. */
export function modelName({ name, version }) {
  return `${name}@${version}`;
}

const FACTS = [
  ['Model', modelName],
  ['Architecture', ({ card }) => card.architecture],
  ['Classes', ({ card }) => formatCount(card.classes.length)],
  ['Validation accuracy', ({ card }) => (typeof card.metrics?.val_accuracy === 'number' ? formatShare(card.metrics.val_accuracy) : 'unknown')],
  // Accuracies on different datasets cannot be compared.
  ['Measured on', ({ card }) => (card.dataset ? `${card.dataset.name}, version ${card.dataset.version}` : 'unknown')],
];

function classChange(before, after) {
  const { added, missing, moved } = classDifference(before, after);
  if (added.length + missing.length + moved.length === 0) return h('p', { class: 'quiet' }, 'Both have the same classes in the same order.');
  const places = ([name, from, to]) => [h('bdi', {}, name), ` from ${from} to ${to}`];
  return h('div', { class: 'box box-warn', 'data-testid': 'class-change' },
    h('p', { class: 'box-title' }, 'The classes differ'),
    h('ul', {}, [
      added.length > 0 && h('li', {}, `${plural(added.length, 'class', 'classes')} added: `, listed(added, (name) => h('bdi', {}, name))),
      missing.length > 0 && h('li', {}, `${plural(missing.length, 'class', 'classes')} missing: `, listed(missing, (name) => h('bdi', {}, name))),
      moved.length > 0 && h('li', {}, 'Different order; clients that use class indices will get other classes: ', listed(moved, places)),
    ]));
}

/** The first items, separated by commas, and how many more there are. */
function listed(items, show) {
  const rest = items.length - CLASSES_NAMED;
  return [items.slice(0, CLASSES_NAMED).map((item, i) => [i > 0 && ', ', show(item)]), rest > 0 && ` and ${formatCount(rest)} more`];
}
