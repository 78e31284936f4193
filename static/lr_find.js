// What a search for a learning rate found: the suggestions, and the loss over the rate.

import { h } from './dom.js';
import { formatNumber, plural } from './format.js';
import { tile } from './parts.js';

export function lrFindCard({ end, suggestion, points }) {
  const why = end === 'diverged' ? 'then the loss blew up' : 'all that were asked for';
  return h('section', { class: 'card', 'data-testid': 'lr-find' },
    h('h2', {}, 'Learning rate'),
    suggestion
      ? h('dl', { class: 'tiles' }, [
        tile('Steepest fall of the loss', formatNumber(suggestion.steepest), 'lr-steepest').node,
        tile('A tenth of the lowest loss’s', formatNumber(suggestion.minimum_tenth), 'lr-minimum').node,
      ])
      : h('p', {}, 'The loss falls nowhere on this curve: nothing can be suggested. Try more steps, or other bounds.'),
    h('p', { class: 'quiet' }, `${plural(points.length, 'step')} from ${formatNumber(points[0].lr)} to ${formatNumber(points.at(-1).lr)}, ${why}.`),
    h('details', {}, h('summary', {}, 'The curve as a table'),
      h('div', { class: 'scroll' }, h('table', {},
        h('thead', {}, h('tr', {}, ['Step', 'Learning rate', 'Loss', 'Smoothed'].map((name) => h('th', { scope: 'col' }, name)))),
        h('tbody', {}, points.map(pointRow))))));
}

function pointRow({ lr, loss, smoothed }, index) {
  return h('tr', {}, h('th', { scope: 'row' }, index + 1), [lr, loss, smoothed].map((value) => h('td', {}, formatNumber(value))));
}
