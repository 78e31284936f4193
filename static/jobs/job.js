// `#/jobs/ID`: a job while it runs: progress, live curves, messages, how it ended.

import { call, get, path } from '../shared/api.js';
import { announce, fill, h, setText } from '../shared/dom.js';
import { comparisonCard } from './comparison.js';
import { crossValidationCard } from './cross_validation.js';
import { evaluationCard } from '../models/evaluation.js';
import { formatCount, formatRemaining, formatSeconds, formatShare, formatTime, plural, secondsBetween, words } from '../shared/format.js';
import { JobCurves } from './curve_charts.js';
import { jobLog } from './log.js';
import { labelCheckCard } from './label_check.js';
import { followJob } from '../live/live.js';
import { lrFindCard } from './lr_find.js';
import { confirmed, heading, link, problemBox, statusBadge } from '../shared/widgets.js';
import { poll } from '../shared/poll.js';
import { predictionsCard } from './predictions.js';
import { deleteButton } from '../shared/remove.js';

const ENDS = ['succeeded', 'failed', 'cancelled'];

export function jobView(outlet, { id }) {
  const title = heading('Job');
  const page = jobPage();
  const trouble = h('div', {});
  fill(outlet, h('p', { class: 'trail' }, link(['jobs'], 'Jobs')), title, trouble, page.node);
  let job = null;
  let events = null;
  const newestEpoch = epochAnnouncer(() => job.status === 'running');

  const refreshing = poll(2, async (signal) => {
    try {
      const next = await get('jobs', id, { signal });
      if (job && job.status !== next.status) announce(`Job ${next.name}: ${next.status}`);
      job = next;
      document.title = `${job.name} · finetuned`;
      fill(title, job.name, ' ', statusBadge(job.status).node);
      fill(trouble);
      page.show(job, refreshing.now);
      events ??= follow();
      if (ENDS.includes(job.status)) refreshing.stop();
    } catch (problem) {
      if (!signal.aborted && !job) fill(trouble, problemBox(problem));
      if (problem.status === 404) refreshing.stop();
      throw problem;
    }
  });

  function follow() {
    return followJob(job.id, {
      onConnection: page.connection,
      onEvent: (kind, data) => {
        page.event(kind, data);
        if (kind === 'epoch') newestEpoch.say(data);
        if (kind === 'status' || kind === 'epoch' || kind === 'end') refreshing.now();
      },
    });
  }

  return () => {
    refreshing.stop();
    events?.close();
    newestEpoch.stop();
    page.destroy();
  };
}

/** Announces the result of an epoch; for a burst, such as the replay of a long job, only the last one. */
function epochAnnouncer(wanted) {
  let timer = 0;
  return {
    say({ epoch, val_accuracy: accuracy }) {
      clearTimeout(timer);
      const result = typeof accuracy === 'number' ? `: validation accuracy ${formatShare(accuracy)}` : ' finished';
      timer = setTimeout(() => wanted() && announce(`Epoch ${epoch}${result}`), 500);
    },
    stop: () => clearTimeout(timer),
  };
}

/** The sections of the view below its heading, and how they follow the job and its events. */
function jobPage() {
  const outcome = h('div', {});
  const found = resultPanel();
  const progress = progressPanel();
  const curves = new JobCurves();
  const log = jobLog();
  const buttons = jobButtons();
  const facts = h('dl', { class: 'facts quiet' });
  const connection = h('span', { class: 'quiet', 'data-testid': 'connection' });
  const curveCard = h('section', { class: 'card' },
    h('div', { class: 'row' }, h('h2', {}, 'Curves'), h('span', { class: 'grow' }), connection), curves.node);
  const node = h('div', { class: 'stack', hidden: true },
    outcome, found.node, progress.node, buttons.node, curveCard, log.node, facts);
  return {
    node,
    show(job, refresh) {
      node.hidden = false;
      fill(outcome, outcomeBox(job));
      found.show(job);
      progress.show(job);
      buttons.show(job, refresh);
      fill(facts, jobFacts(job).map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, value))));
    },
    event(kind, data) {
      curves.apply(kind, data);
      log.add(kind, data);
      progress.event(kind, data);
    },
    connection(state) {
      setText(connection, { live: 'live', waiting: 'connection lost, retrying …', ended: '' }[state]);
      curveCard.hidden = state === 'ended' && curves.isEmpty;
    },
    destroy: () => {
      found.destroy();
      curves.destroy();
    },
  };
}

/** The result of a job that does not make a model; requested once, when the job has succeeded. */
function resultPanel() {
  const lifetime = new AbortController();
  const node = h('div', {});
  let asked = false;
  const read = async (job, resource, card) => {
    try {
      fill(node, card(await call('GET', path('jobs', job.id, resource), { signal: lifetime.signal })));
    } catch (problem) {
      if (!lifetime.signal.aborted) fill(node, problemBox(problem));
    }
  };
  return {
    node,
    show(job) {
      if (asked || job.status !== 'succeeded' || ['train', 'pretrain'].includes(job.kind)) return;
      asked = true;
      if (job.kind === 'evaluate') read(job, 'evaluation', evaluationCard);
      if (job.kind === 'compare') read(job, 'comparison', comparisonCard);
      if (job.kind === 'cross_validate') read(job, 'cross_validation', crossValidationCard);
      if (job.kind === 'label_check') read(job, 'label_check', (found) => labelCheckCard(job, found));
      if (job.kind === 'lr_find') read(job, 'lr_find', lrFindCard);
      if (job.kind === 'batch-predict') fill(node, predictionsCard(job.id, job.predictions));
    },
    destroy: () => lifetime.abort(),
  };
}

function progressPanel() {
  const meter = h('progress', { max: 1, 'aria-label': 'Progress', 'data-testid': 'progress' });
  const text = h('p', { class: 'quiet', 'data-testid': 'progress-text' });
  const node = h('div', { class: 'card' }, meter, text);
  // The job object is polled every two seconds, events arrive at once: the one that is ahead is right, until a rewind.
  let [steps, told, live] = [0, 0, 0];
  const draw = () => {
    if (steps > 0) meter.value = Math.min(1, Math.max(told, live) / steps);
    else meter.removeAttribute('value');
  };
  return {
    node,
    show(job) {
      node.hidden = ENDS.includes(job.status);
      steps = job.progress?.steps ?? 0;
      told = job.progress?.step ?? 0;
      setText(text, progressText(job));
      draw();
    },
    event(kind, data) {
      if (kind === 'step' || kind === 'progress') live = data.step;
      else if (kind === 'rewind') [told, live] = [0, data.to_step];
      else return;
      draw();
    },
  };
}

/** What the steps of a job's progress are. */
const STEPS = { 'batch-predict': 'image', compare: 'backbone', cross_validate: 'fold' };

const WAITS_FOR_DISK = "Waiting: the server's disk is full. The job continues once there is room. Deleting datasets or models makes room.";

function progressText(job) {
  if (job.status === 'queued') {
    if (job.progress?.waiting === 'quota') return 'Waiting: its owner runs as many jobs as it may. The job begins when one of them has ended.';
    return job.queue_position > 0 ? `Waiting; ${formatCount(job.queue_position)} ahead of it` : 'Waiting; next in the queue';
  }
  const { progress } = job;
  if (progress?.waiting === 'disk') return WAITS_FOR_DISK;
  if (!progress) return 'Starting: loading weights and data';
  return [
    job.kind === 'train' ? `Epoch ${progress.epoch} of ${progress.epochs}` : null,
    `${STEPS[job.kind] ?? 'step'} ${formatCount(progress.step)} of ${formatCount(progress.steps)}`,
    typeof progress.images_per_second === 'number' ? `${formatCount(Math.round(progress.images_per_second))} images/s` : null,
    formatRemaining(progress.eta_seconds),
  ].filter(Boolean).join(' · ');
}

const DONE = {
  early_stopped: 'Stopped early: validation no longer improved',
  budget: 'Stopped at the time limit: the best weights so far are kept',
  diverged: 'Diverged: the loss became NaN or infinite, the best weights before that are kept',
};

function outcomeBox(job) {
  if (job.status === 'failed') {
    return h('div', { class: 'box box-bad', role: 'alert', 'data-testid': 'job-error' },
      h('p', { class: 'box-title' }, job.error ? words(job.error.code) : 'The job failed'),
      h('p', {}, job.error?.message));
  }
  if (job.status === 'cancelled') return h('div', { class: 'box' }, h('p', {}, job.kind === 'train' ? 'Cancelled. No model was made.' : 'Cancelled.'));
  if (job.status !== 'succeeded') return null;
  if (job.kind !== 'train') return null;
  const { best } = job;
  const reached = typeof best?.val_accuracy === 'number'
    ? `The best epoch was ${best.epoch}, with a validation accuracy of ${formatShare(best.val_accuracy)}.`
    : 'The model is ready.';
  return h('div', { class: 'box box-good' },
    h('p', { class: 'box-title' }, DONE[job.stop_reason] ?? 'Done'),
    h('p', {}, reached),
    job.model && h('a', { class: 'button primary', 'data-testid': 'try-model', href: `#/models/${encodeURIComponent(job.model)}` }, 'Try the model'));
}

function jobButtons() {
  const cancel = h('button', { type: 'button', class: 'danger', 'data-testid': 'cancel-job' }, 'Cancel the job');
  const again = h('a', { class: 'button' }, 'New job with these settings');
  const train = h('a', { class: 'button' }, 'Train with these settings');
  const problem = h('div', {});
  const removal = h('span', {});
  let job = null;
  let refresh = () => {};
  cancel.addEventListener('click', async () => {
    if (!await confirmed(`Cancel the job ${job.name}? Its progress so far is lost.`, 'Cancel the job')) return;
    cancel.disabled = true;
    fill(problem);
    try {
      await call('POST', path('jobs', job.id, 'cancel'));
    } catch (refusal) {
      fill(problem, problemBox(refusal));
      cancel.disabled = false;
    }
    refresh();
  });
  return {
    node: h('div', {}, h('div', { class: 'actions' }, cancel, again, train, removal), problem),
    show(next, refreshNow) {
      job = next;
      refresh = refreshNow;
      const ended = ENDS.includes(next.status);
      cancel.hidden = ended;
      if (ended && !removal.childElementCount) {
        fill(removal, deleteButton('jobs', next.id, `Delete the job ${next.name}? Its curves and files are deleted; a model that it made is kept.`));
      }
      again.href = `#/jobs/new?${new URLSearchParams({ from: next.id })}`;
      train.hidden = next.kind !== 'lr_find';
      train.href = `#/jobs/new?${new URLSearchParams({ from: next.id, kind: 'train' })}`;
    },
  };
}

function frozenStages({ freeze, unfreeze_at_epoch: unfreezeAtEpoch }) {
  if (freeze.gradual) return `backbone at first, one stage fewer every ${freeze.gradual} epochs`;
  const stages = freeze.until ? `up to ${freeze.until}` : freeze;
  return unfreezeAtEpoch ? `${stages} until epoch ${unfreezeAtEpoch}` : stages;
}

function jobFacts(job) {
  return [
    ['Id', h('code', {}, job.id)],
    ['Dataset', link(['datasets', job.dataset.id], job.spec.dataset)],
    ...(FACTS[job.kind] ?? trainingFacts)(job),
    ['Created', formatTime(job.created_at)],
    job.owner && ['Owner', h('bdi', {}, job.owner.name)],
    job.started_at && ['Ran', `${formatSeconds(secondsBetween(job.started_at, job.finished_at))}${job.device ? ` on ${job.device}` : ''}`],
    job.attempt > 1 && ['Attempts', job.attempt],
    job.attempt > 0 && ['Worker', h('a', { href: path('jobs', job.id, 'logs'), target: '_blank', rel: 'noopener' }, 'log')],
  ].filter(Boolean);
}

function evaluationFacts({ spec }) {
  return [
    ['Model', link(['models', spec.model], spec.model)],
    ['Evaluation', `${spec.split === 'all' ? 'all images' : `split ${spec.split}`}, batches of ${spec.batch_size}`],
  ];
}

function predictionFacts({ spec }) {
  return [
    ['Model', link(['models', spec.model], spec.model)],
    ['Prediction', `${spec.split === 'all' ? 'all images' : `split ${spec.split}`}, top ${spec.top_k} classes, batches of ${spec.batch_size}`],
  ];
}

function comparisonFacts({ spec }) {
  return [['Backbones', spec.backbones.map(({ architecture, weights }) => `${architecture} (${weights})`).join(', ')]];
}

function labelCheckFacts({ spec }) {
  return [
    ['Backbone', `${spec.backbone.architecture}, weights ${spec.backbone.weights}`],
    ['Label check', `${spec.folds} folds, batches of ${spec.batch_size}, seed ${spec.seed}`],
  ];
}

function crossValidationFacts({ spec }) {
  return [
    ['Backbone', `${spec.backbone.architecture}, weights ${spec.backbone.weights}, ${spec.image.size} px`],
    ['Cross-validation', `${spec.folds} folds for ${plural(spec.repeats, 'seed')} from ${spec.seed} on, penalty ${spec.head.l2 ?? 'chosen'}`],
  ];
}

function pretrainingFacts({ spec }) {
  return [
    ['Network', `${spec.backbone.architecture}, weights ${spec.backbone.weights}, no head`],
    ['Pretraining', `${spec.method}, ${spec.image.size} px, ${spec.epochs} epochs, learning rate ${spec.optimizer.lr}, batches of ${spec.batch_size}, seed ${spec.seed}`],
  ];
}

const FACTS = {
  evaluate: evaluationFacts,
  'batch-predict': predictionFacts,
  compare: comparisonFacts,
  cross_validate: crossValidationFacts,
  label_check: labelCheckFacts,
  pretrain: pretrainingFacts,
};

/** How the head is made: step by step, or at once from the features of a frozen backbone. */
function headWork({ head, epochs, optimizer }) {
  if (optimizer) return `${epochs} epochs, learning rate ${optimizer.lr}`;
  if (head.solver === 'lbfgs') return `head by L-BFGS, penalty ${head.l2 ?? 'chosen by validation'}`;
  return head.kind === 'knn' ? `${head.k} nearest training images vote` : 'mean features of each class';
}

function trainingFacts({ kind, spec }) {
  const work = kind === 'lr_find'
    ? `${spec.lr_find.steps} steps with learning rates from ${spec.lr_find.min_lr} to ${spec.lr_find.max_lr}`
    : headWork(spec);
  return [
    ['Network', `${spec.backbone.architecture}, weights ${spec.backbone.weights}, frozen ${frozenStages(spec)}`],
    [kind === 'lr_find' ? 'Search' : 'Training', `${spec.image.size} px, ${work}, batches of ${spec.batch_size}, seed ${spec.seed}`],
  ];
}
