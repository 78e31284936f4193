// The result of a batch prediction: the number of rows, and the two files.

import { path, withQuery } from '../shared/api.js';
import { h } from '../shared/dom.js';
import { formatBytes, formatCount, plural } from '../shared/format.js';

export function predictionsCard(job, { images, errors, jsonl, csv }) {
  const file = (format, name, { bytes }) => h('a', {
    // The `href` of the answer begins at the root of the host.
    class: 'button', href: withQuery(path('jobs', job, 'predictions'), { format }), download: true, 'data-testid': `predictions-${format}`,
  }, `${name} (${formatBytes(bytes)})`);
  return h('section', { class: 'card found', 'data-testid': 'predictions' },
    h('h2', {}, 'Predictions'),
    h('p', {}, `A row for each of ${plural(images, 'image')}.`,
      errors > 0 && ` ${formatCount(errors)} could not be read; their rows say why.`),
    h('p', { class: 'actions' }, file('csv', 'CSV', csv), file('jsonl', 'JSON Lines', jsonl)));
}
