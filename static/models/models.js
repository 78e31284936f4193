// `#/models`: every model, newest first.

import { list } from '../shared/api.js';
import { fill, h, keyedList, setText } from '../shared/dom.js';
import { formatAgo, formatShare, formatTime, plural } from '../shared/format.js';
import { emptyState, heading, link, problemBox } from '../shared/widgets.js';
import { poll } from '../shared/poll.js';

export function modelsView(outlet) {
  const rows = h('ul', { class: 'list', 'data-testid': 'models' });
  const state = h('div', {}, h('p', { class: 'quiet' }, 'Loading …'));
  const more = h('button', { type: 'button', hidden: true }, 'Show more');
  const update = keyedList(rows, modelRow);
  let wanted = 20;
  fill(outlet,
    heading('Models'),
    h('p', { class: 'lead' }, 'Every model is ready for predictions as soon as its job succeeds or it is imported.'),
    state, rows, more);
  const refreshing = poll(10, async (signal) => {
    let page;
    try {
      page = await list('models', { wanted, signal });
    } catch (problem) {
      if (!signal.aborted && !rows.childElementCount) fill(state, problemBox(problem));
      throw problem;
    }
    update(page.data);
    more.hidden = !page.has_more;
    fill(state, page.data.length === 0 && emptyState('No models yet. A training job that succeeds adds one.'));
  });
  more.addEventListener('click', () => {
    wanted += 20;
    refreshing.now();
  });
  return refreshing.stop;
}

function modelRow({ id, name, version, created_at: created, source, card }) {
  const accuracy = card.metrics?.val_accuracy;
  const origin = source === 'imported' ? 'imported' : `from ${card.dataset.name}`;
  const facts = [card.architecture, plural(card.classes.length, 'class', 'classes'), origin];
  const aliases = h('span', { 'data-testid': 'named' });
  const when = h('span', { class: 'quiet when', title: formatTime(created) });
  const node = h('li', { class: 'list-row', 'data-id': id },
    link(['models', id], h('strong', {}, name), h('span', { class: 'quiet' }, `@${version}`)),
    aliases,
    typeof accuracy === 'number' && h('span', { class: 'badge badge-plain' }, formatShare(accuracy)),
    h('span', { class: 'quiet' }, facts.join(' · ')), when);
  const update = (next) => {
    setText(when, formatAgo(next.created_at));
    fill(aliases, next.aliases.map((alias) => h('span', { class: 'badge badge-plain' }, h('bdi', {}, alias))));
  };
  return { node, update };
}
