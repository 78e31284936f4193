// The result of a comparison of backbones: a row for each, the most accurate first.

import { h } from '../shared/dom.js';
import { formatBytes, formatMilliseconds, formatMillions, formatSeconds, formatShare, plural } from '../shared/format.js';

export function comparisonCard({ images, device, threads, backbones }) {
  const names = ['Backbone', 'Weights', 'Accuracy', '95 % interval', 'Macro F1', 'Latency', 'Parameters', 'Size', 'Time'];
  return h('section', { class: 'card found', 'data-testid': 'comparison' },
    h('h2', {}, 'Backbones'),
    h('p', { class: 'quiet' }, `With a head solved on frozen features, on the same ${plural(images, 'validation image')}. Where intervals overlap widely, `
      + `the difference may be chance. The latency is that of one image on ${device} with ${plural(threads, 'thread')}.`),
    h('div', { class: 'scroll' }, h('table', {},
      h('thead', {}, h('tr', {}, names.map((name) => h('th', { scope: 'col' }, name)))),
      h('tbody', {}, backbones.map((backbone) => row(backbone, names.length))))));
}

function row({ architecture, weights, image_size: size, measured, error }, columns) {
  const name = h('th', { scope: 'row' }, `${architecture}, ${size} px`);
  if (!measured) return h('tr', {}, name, h('td', {}, weights), h('td', { colspan: columns - 2, class: 'prose' }, `Not measured: ${error}`));
  const [low, high] = measured.accuracy_interval;
  const cells = [weights, formatShare(measured.accuracy), `${formatShare(low)} to ${formatShare(high)}`, formatShare(measured.macro_f1),
    formatMilliseconds(measured.latency_ms), formatMillions(measured.parameters), formatBytes(measured.bytes), formatSeconds(measured.seconds)];
  return h('tr', {}, name, cells.map((cell) => h('td', {}, cell)));
}
