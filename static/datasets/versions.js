// The versions of a dataset: what changed in each of them, with a download link.

import { call, path, withQuery } from '../shared/api.js';
import { fill, h } from '../shared/dom.js';
import { formatCount, formatTime, plural } from '../shared/format.js';
import { problemBox } from '../shared/widgets.js';

export function versionsCard(dataset) {
  const rows = h('ul', { class: 'plain', 'data-testid': 'versions' });
  const state = h('div', {});
  show();
  return h('section', { class: 'card' }, h('h2', {}, 'Versions'), state, rows);

  async function show() {
    try {
      const page = await call('GET', path('datasets', dataset.id, 'versions'));
      fill(rows, page.data.map(row));
    } catch (refusal) {
      fill(state, problemBox(refusal));
    }
  }

  function row(version) {
    const target = withQuery(path('datasets', dataset.id, 'archive'), { version: version.version });
    return h('li', {}, h('strong', {}, `Version ${version.version}`), ` · ${changeText(version)} · `,
      h('span', { class: 'quiet' }, formatTime(version.created_at)), ' · ', h('a', { href: target, download: true }, 'zip'));
  }
}

function changeText({ change, images }) {
  const changes = [
    [change.added, 'added'],
    [change.removed, 'removed'],
    [change.relabelled, 'relabelled'],
    [change.moved, change.kind === 'split' ? 'reassigned to splits' : 'moved to another split'],
  ].filter(([count]) => count > 0).map(([count, what]) => `${formatCount(count)} ${what}`);
  return change.kind === 'upload' ? plural(images, 'image') : `${plural(images, 'image')}: ${changes.join(', ')}`;
}
