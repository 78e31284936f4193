// `#/datasets/ID`: the contents of a dataset, its warnings, and a link to training.

import { get } from '../shared/api.js';
import { imagesCard } from './images.js';
import { readingsCard } from './readings.js';
import { versionsCard } from './versions.js';
import { announce, fill, h } from '../shared/dom.js';
import { formatBytes, formatCount, formatTime, plural, words } from '../shared/format.js';
import { bar, heading, link, problemBox, statusBadge, tile } from '../shared/widgets.js';
import { poll } from '../shared/poll.js';
import { deleteButton } from '../shared/remove.js';

const CLASSES_SHOWN = 30;

export function datasetView(outlet, { id }) {
  const body = h('div', { class: 'stack' }, h('p', { class: 'quiet' }, 'Loading …'));
  const title = heading('Dataset');
  fill(outlet, h('p', { class: 'trail' }, link(['datasets'], 'Datasets')), title, body);
  let status = null;
  let watching;
  watch();

  function watch() {
    watching = poll(1, look);
  }

  async function look(signal) {
    try {
      // Short calls: a waiting one would occupy one of the few connections that all windows share.
      const dataset = await get('datasets', id, { signal });
      if (dataset.status !== status) {
        if (status) announce(`Dataset ${dataset.name}: ${dataset.status}`);
        show(dataset);
      }
      status = dataset.status;
      if (status !== 'processing') watching.stop();
    } catch (problem) {
      if (!signal.aborted && !status) fill(body, problemBox(problem));
      if (problem.status === 404) watching.stop();
      throw problem;
    }
  }

  function reread(dataset) {
    watching.stop();
    status = dataset.status;
    announce(`Dataset ${dataset.name}: ${dataset.status}`);
    show(dataset);
    watch();
  }

  function show(dataset) {
    document.title = `${dataset.name} · finetuned`;
    fill(title, dataset.name, ' ', statusBadge(dataset.status).node);
    fill(body,
      dataset.error && failure(dataset),
      dataset.status === 'processing' && processing(dataset),
      dataset.status === 'ready' && [counts(dataset), actions(dataset), classes(dataset), imagesCard(dataset, show), versionsCard(dataset)],
      dataset.report && findings(dataset.report),
      dataset.status !== 'processing' && readingsCard(dataset, reread),
      facts(dataset),
      dataset.status === 'failed' && h('div', { class: 'actions' }, deletion(dataset)));
  }
  return () => watching.stop();
}

function processing(dataset) {
  return h('div', { class: 'card' },
    h('p', {}, dataset.waiting === 'disk'
      ? `${formatBytes(dataset.bytes)} received. The server's disk is full: reading continues once there is room. Deleting datasets or models makes room.`
      : `${formatBytes(dataset.bytes)} received. Every image is being opened and checked.`),
    h('progress', { 'aria-label': 'Reading the archive' }));
}

function failure(dataset) {
  return h('div', { class: 'box box-bad', role: 'alert', 'data-testid': 'dataset-error' },
    h('p', { class: 'box-title' }, dataset.status === 'failed'
      ? `This dataset cannot be used: ${words(dataset.error.code).toLowerCase()}`
      : `The archive could not be read again: ${words(dataset.error.code).toLowerCase()}`),
    h('p', {}, dataset.error.message));
}

function counts(dataset) {
  const { splits } = dataset;
  const tiles = splits.val > 0 || splits.test > 0
    ? [tile('Training', formatCount(splits.train)), tile('Validation', formatCount(splits.val)), tile('Test', formatCount(splits.test))]
    : [tile('Splits', 'made by each job')];
  return h('dl', { class: 'tiles' },
    [tile('Images', formatCount(dataset.images), 'dataset-images'),
      tile('Classes', formatCount(dataset.classes.length), 'dataset-classes'),
      ...(dataset.several_labels ? [tile('Several labels or none', formatCount(dataset.several_labels), 'dataset-several')] : []), ...tiles].map((each) => each.node));
}

function actions(dataset) {
  const obstacle = dataset.layout === 'unlabelled'
    ? 'It has no class folders, so it cannot be trained on.'
    : dataset.classes.length < 2 && !dataset.several_labels ? 'Training needs at least two classes.' : null;
  const several = dataset.several_labels > 0 ? { task: 'multi_label' } : {};
  const train = h('a', { class: 'button primary', 'data-testid': 'train', href: `#/jobs/new?${new URLSearchParams({ dataset: dataset.name, ...several })}` },
    'Train on this dataset');
  const compare = h('a', { class: 'button', 'data-testid': 'compare', href: `#/jobs/new?${new URLSearchParams({ kind: 'compare', dataset: dataset.name })}` },
    'Compare backbones');
  const labels = h('a', { class: 'button', 'data-testid': 'check-labels', href: `#/jobs/new?${new URLSearchParams({ kind: 'label_check', dataset: dataset.name })}` },
    'Check labels');
  const folds = h('a', { class: 'button', 'data-testid': 'cross-validate', href: `#/jobs/new?${new URLSearchParams({ kind: 'cross_validate', dataset: dataset.name })}` },
    'Cross-validate');
  // Labels are not needed for this.
  const pretrain = h('a', { class: 'button', 'data-testid': 'pretrain', href: `#/jobs/new?${new URLSearchParams({ kind: 'pretrain', dataset: dataset.name })}` },
    'Pretrain a backbone');
  return h('div', { class: 'actions' }, obstacle ? h('p', { class: 'quiet' }, obstacle) : dataset.several_labels ? train : [train, compare, folds, labels], pretrain, deletion(dataset));
}

function deletion({ id, name }) {
  return deleteButton('datasets', id, `Delete the dataset ${name}? Its images are removed from the server; models trained on it are kept.`);
}

function classes(dataset) {
  if (dataset.classes.length === 0) return null;
  const most = Math.max(1, ...dataset.classes.map((each) => each.images));
  const one = (each) => bar(each.name, each.images / most, formatCount(each.images));
  const rows = h('ul', { class: 'bars', 'data-testid': 'classes' }, dataset.classes.slice(0, CLASSES_SHOWN).map(one));
  const rest = dataset.classes.slice(CLASSES_SHOWN);
  const more = rest.length > 0 && h('button', {
    type: 'button', class: 'small', onclick: () => {
      rows.append(...rest.map(one));
      more.remove();
    },
  }, `Show ${formatCount(rest.length)} more`);
  return h('section', { class: 'card' }, h('h2', {}, 'Classes'), rows, more);
}

function findings(report) {
  const tallies = [
    [report.used, 'used'],
    [report.skipped, 'skipped: could not be read as images'],
    [report.ignored, 'ignored: hidden files, text files and the like'],
    [report.duplicates, 'duplicates'],
    [report.leaks, 'of these in a different split than their duplicate'],
    [report.near_duplicates ?? 0, 'near duplicates: almost identical to another image'],
  ].filter(([number], i) => number > 0 || i === 0);
  return h('section', { class: 'card' }, h('h2', {}, 'Report'),
    h('ul', { class: 'plain', 'data-testid': 'report' }, tallies.map(([number, what]) => h('li', {}, h('strong', {}, formatCount(number)), ` ${what}`))),
    report.warnings.map(warning));
}

function warning({ code, message, count, examples }) {
  return h('div', { class: 'box box-warn', 'data-testid': 'warning' },
    h('p', { class: 'box-title' }, words(code)),
    h('p', {}, message),
    examples.length > 0 && h('details', {},
      h('summary', {}, count > examples.length ? `${examples.length} of ${plural(count, 'example')}` : plural(examples.length, 'example')),
      h('ul', { class: 'paths' }, examples.map((example) => h('li', {}, h('code', {}, example))))));
}

/** How the paths were read: `Splits: flowers/{split}/{class}/…`. */
function layout({ layout: kind, report }) {
  const pattern = report?.structure?.pattern;
  return pattern ? [`${words(kind)}: `, h('code', {}, pattern)] : words(kind);
}

function facts(dataset) {
  const pairs = [
    ['Id', h('code', {}, dataset.id)],
    ['Uploaded', formatTime(dataset.created_at)],
    dataset.owner && ['Owner', h('bdi', {}, dataset.owner.name)],
    ['Archive', formatBytes(dataset.bytes)],
    ['SHA-256', h('code', {}, dataset.sha256)],
    dataset.layout && ['Layout', layout(dataset)],
    ['Version', dataset.version],
    dataset.content_sha256 && ['Content', h('code', {}, dataset.content_sha256)],
  ].filter(Boolean);
  return h('dl', { class: 'facts quiet' }, pairs.map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, value))));
}
