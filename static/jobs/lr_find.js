// The result of a learning rate search: the suggestions, and the loss at each rate.

import { h } from '../shared/dom.js';
import { formatNumber, plural } from '../shared/format.js';
import { tile } from '../shared/widgets.js';

export function lrFindCard({ end, suggestion, points }) {
  const why = end === 'diverged' ? 'stopped because the loss diverged' : 'completed';
  return h('section', { class: 'card found', 'data-testid': 'lr-find' },
    h('h2', {}, 'Learning rate'),
    suggestion
      ? h('dl', { class: 'tiles' }, [
        tile('Where the loss falls fastest', formatNumber(suggestion.steepest), 'lr-steepest').node,
        tile('A tenth of the rate with the lowest loss', formatNumber(suggestion.minimum_tenth), 'lr-minimum').node,
      ])
      : h('p', {}, 'The loss does not fall anywhere on this curve, so there is no suggestion. Try more steps or a different range.'),
    h('p', { class: 'quiet' }, `${plural(points.length, 'step')} from ${formatNumber(points[0].lr)} to ${formatNumber(points.at(-1).lr)}, ${why}.`),
    h('details', {}, h('summary', {}, 'The curve as a table'),
      h('div', { class: 'scroll' }, h('table', {},
        h('thead', {}, h('tr', {}, ['Step', 'Learning rate', 'Loss', 'Smoothed'].map((name) => h('th', { scope: 'col' }, name)))),
        h('tbody', {}, points.map(pointRow))))));
}

function pointRow({ lr, loss, smoothed }, index) {
  return h('tr', {}, h('th', { scope: 'row' }, index + 1), [lr, loss, smoothed].map((value) => h('td', {}, formatNumber(value))));
}
