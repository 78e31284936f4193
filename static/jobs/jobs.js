// `#/jobs`: all jobs with their state, progress and remaining time.

import { list } from '../shared/api.js';
import { fill, h, keyedList, setText } from '../shared/dom.js';
import { formatAgo, formatRemaining, formatShare, formatTime, words } from '../shared/format.js';
import { KINDS } from './fields.js';
import { emptyState, heading, link, problemBox, statusBadge } from '../shared/widgets.js';
import { poll } from '../shared/poll.js';

const ACTIVE = ['queued', 'running'];

export function jobsView(outlet) {
  const rows = h('ul', { class: 'list', 'data-testid': 'jobs' });
  const state = h('div', {}, h('p', { class: 'quiet' }, 'Loading …'));
  const more = h('button', { type: 'button', hidden: true }, 'Show more');
  const update = keyedList(rows, jobRow);
  let wanted = 20;
  fill(outlet,
    h('div', { class: 'row' }, heading('Jobs'), h('span', { class: 'grow' }),
      h('a', { class: 'button primary', href: '#/jobs/new' }, 'New job')),
    h('p', { class: 'lead' }, 'A job trains a model on a dataset, evaluates a model, classifies a dataset with one, or searches for a learning rate.'),
    state, rows, more);
  const refreshing = poll(5, async (signal) => {
    let page;
    try {
      page = await list('jobs', { wanted, signal });
    } catch (problem) {
      if (!signal.aborted && !rows.childElementCount) fill(state, problemBox(problem));
      throw problem;
    }
    update(page.data);
    more.hidden = !page.has_more;
    fill(state, page.data.length === 0 && emptyState('No jobs yet. Upload a dataset, then train on it.'));
    return page.data.some((job) => ACTIVE.includes(job.status)) ? 2 : 10;
  });
  more.addEventListener('click', () => {
    wanted += 20;
    refreshing.now();
  });
  return refreshing.stop;
}

function jobRow(job) {
  const badge = statusBadge(job.status);
  const facts = h('span', { class: 'quiet' });
  const meter = h('progress', { max: 1, value: 0, 'aria-label': `Progress of ${job.name}` });
  const when = h('span', { class: 'quiet when', title: formatTime(job.created_at) });
  const node = h('li', { class: 'list-row', 'data-id': job.id },
    link(['jobs', job.id], h('strong', {}, job.name)), badge.node, facts, meter, when);
  return {
    node,
    update(next) {
      badge.set(next.status);
      meter.hidden = next.status !== 'running';
      meter.value = doneShare(next);
      setText(facts, [next.kind !== 'train' && KINDS[next.kind], jobFacts(next)].filter(Boolean).join(' · '));
      setText(when, formatAgo(next.created_at));
    },
  };
}

/** The completed share of a job, 0 to 1. */
function doneShare(job) {
  return job.progress?.steps > 0 ? Math.min(1, job.progress.step / job.progress.steps) : 0;
}

function jobFacts(job) {
  const { progress, best } = job;
  switch (job.status) {
    case 'queued':
      if (progress?.waiting === 'quota') return 'waiting: its owner runs as many jobs as it may';
      return job.queue_position > 0 ? `${job.queue_position} ahead of it` : 'next in the queue';
    case 'running': if (progress?.waiting === 'disk') return "waiting: the server's disk is full";
      return progress
      ? [job.kind === 'train' ? `epoch ${progress.epoch} of ${progress.epochs}` : null, formatRemaining(progress.eta_seconds)].filter(Boolean).join(' · ')
      : 'starting';
    case 'succeeded': return typeof best?.val_accuracy === 'number' ? `validation accuracy ${formatShare(best.val_accuracy)}` : '';
    case 'failed': return job.error ? `${words(job.error.code)}: ${job.error.message}` : '';
    default: return '';
  }
}
