// `#/jobs/new`: describe a job and start it. `?dataset=NAME` selects the dataset. `?from=JOB` starts from another job's whole spec: the
// fields override it, so that a setting without a field is not lost. `?kind=train` turns a search's spec into a training job;
// `?task=multi_label` is for images with several labels; `?architecture=NAME&weights=MODEL` begins with a model. Without `from`, `?kind=compare` and the like start a job of that kind.

import { call, get, list, path } from '../shared/api.js';
import { announce, fill, h } from '../shared/dom.js';
import { carriedSettings } from './carried.js';
import { FIELDS, KINDS } from './fields.js';
import { datasetRow, fieldRow, modelRow, offerArchitectures, weightsRow } from './rows.js';
import { copyLine, emptyState, heading, link, problemBox, shellWord } from '../shared/widgets.js';
import { contains, getAt, removeAt, setAt, withoutNulls } from '../shared/pointers.js';
import { previewControl } from './preview.js';
import { goTo } from '../router.js';

export function jobFormView(outlet, { query }) {
  const lifetime = new AbortController();
  const body = h('div', {}, h('p', { class: 'quiet' }, 'Loading …'));
  const title = heading('New job');
  fill(outlet, h('p', { class: 'trail' }, link(['jobs'], 'Jobs')), title, body);
  load(query, lifetime.signal)
    .then((given) => {
      if (given.spec.kind in KINDS) fill(title, `New ${KINDS[given.spec.kind]}`);
      document.title = `${title.textContent} · finetuned`;
      fill(body, given.from || given.datasets.length ? [origin(given), jobForm(given)] : nothingToTrainOn());
    })
    .catch((problem) => lifetime.signal.aborted || fill(body, problemBox(problem)));
  return () => lifetime.abort();
}

/** The datasets, models and networks to choose from, and the spec to start from. */
async function load(query, signal) {
  const [datasets, models, architectures, from] = await Promise.all([
    list('datasets', { wanted: 100, signal }),
    list('models', { wanted: 100, signal }),
    call('GET', path('architectures'), { signal }),
    query.get('from') ? get('jobs', query.get('from'), { signal }) : null,
  ]);
  const wanted = query.get('kind') in FIELDS ? query.get('kind') : 'train';
  const spec = from ? withoutNulls(from.spec) : { kind: wanted };
  const search = query.get('kind') === 'train' && spec.kind === 'lr_find' ? spec.lr_find : null;
  if (search) {
    spec.kind = 'train';
    delete spec.lr_find;
  }
  if (query.get('dataset')) spec.dataset = query.get('dataset');
  if (query.get('task')) spec.task = query.get('task');
  if (query.get('weights')) spec.backbone = { architecture: query.get('architecture'), weights: query.get('weights') };
  const usable = datasets.data.filter((dataset) => dataset.status !== 'failed');
  return { datasets: usable, models: models.data, architectures: architectures.data, from, search, spec };
}

function nothingToTrainOn() {
  return emptyState('There is no dataset to train on yet.', h('a', { class: 'button primary', href: '#/datasets' }, 'Upload one'));
}

/** Where the settings come from, and which of them do not apply to this kind of job. */
function origin({ from, search }) {
  if (!from) return null;
  return h('p', { class: 'lead' }, 'With the settings of ', link(['jobs', from.id], h('bdi', {}, from.name)), '.',
    search && ` Its search, ${search.steps} steps from ${search.min_lr} to ${search.max_lr}, does not apply to training and is left out.`);
}

function jobForm({ datasets, models, architectures, spec: base }) {
  const rows = FIELDS[base.kind].map((field) => rowFor(field, datasets, models));
  const carried = carriedSettings(base, rows.map((row) => row.pointer));
  const hasNetwork = rows.some((row) => row.pointer === '/backbone/architecture');
  const follow = hasNetwork ? offerArchitectures(architectures, rows) : () => {};
  for (const row of rows) row.show(getAt(base, row.pointer));
  follow();
  const faults = faultPlaces([...rows, ...carried.rows]);
  const line = copyLine('');
  const start = h('button', { class: 'primary', 'data-testid': 'start-job' }, 'Start the job');
  const collect = () => specOf(base, carried.rows, rows);
  const preview = previewControl(() => {
    faults.clear();
    return collect();
  }, faults.show);
  const form = h('form', { class: 'card', novalidate: true, 'data-testid': 'job-form' },
    h('div', { class: 'fields' }, rows.filter((row) => !row.field.more).map((row) => row.node)),
    h('details', { class: 'more-fields' }, h('summary', {}, 'More settings'),
      h('div', { class: 'fields' }, rows.filter((row) => row.field.more).map((row) => row.node))),
    carried.node,
    faults.node,
    h('div', { class: 'actions' }, start, base.augment || base.kind === 'train' ? preview.button : null),
    preview.place,
    h('details', {}, h('summary', {}, 'The same with curl'), line.node));
  const showSpec = () => {
    const spec = collect();
    carried.show(spec);
    line.set(curlLine(spec));
  };
  form.addEventListener('input', showSpec);
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    start.disabled = true;
    await submit(collect(), faults);
    start.disabled = false;
  });
  showSpec();
  return form;
}

function rowFor(field, datasets, models) {
  switch (field.pointer) {
    case '/dataset': return datasetRow(field, datasets);
    case '/model': return modelRow(field, models);
    case '/backbone/weights': return weightsRow(field, models);
    default: return fieldRow(field);
  }
}

/** The original spec without the settings that are left out, overridden by the fields; an empty field removes its setting. */
function specOf(base, carried, rows) {
  const spec = structuredClone(base);
  for (const row of carried) {
    if (!row.wanted()) removeAt(spec, row.pointer);
  }
  for (const row of rows) {
    const value = row.value();
    if (value === undefined) removeAt(spec, row.field.whole ?? row.pointer);
    else setAt(spec, row.pointer, value);
  }
  return withoutNulls(spec);
}

async function submit(spec, faults) {
  faults.clear();
  try {
    const job = await call('POST', path('jobs'), { json: spec });
    announce(`Job ${job.name} is ${job.status}`);
    goTo(['jobs', job.id]);
  } catch (problem) {
    faults.show(problem);
  }
}

/** Shows each error beside its setting; errors without one here are shown above the button. */
function faultPlaces(rows) {
  const node = h('div', {});
  const show = (problem) => {
    const homeless = [];
    const told = new Set();
    let first = null;
    for (const error of problem.errors ?? []) {
      const row = placeOf(error.pointer ?? '', rows);
      if (row && !told.has(row)) row.fault(error.message);
      else homeless.push(error);
      if (row) told.add(row);
      first ??= row;
    }
    problem.errors = homeless;
    fill(node, problemBox(problem));
    first?.control.closest('details')?.setAttribute('open', '');
    first?.control.focus();
  };
  const clear = () => {
    fill(node);
    for (const row of rows) row.fault(null);
  };
  return { node, show, clear };
}

/** The row of a pointer: of the setting that contains it, or else of the first setting that it contains. */
function placeOf(pointer, rows) {
  const shown = rows.filter((row) => !row.node.hidden && pointer);
  return shown.find((row) => contains(row.pointer, pointer)) ?? shown.find((row) => contains(pointer, row.pointer));
}

function curlLine(spec) {
  return `curl -d ${shellWord(JSON.stringify(spec))} -H 'content-type: application/json' ${location.origin}${path('jobs')}`;
}
