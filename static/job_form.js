// `#/jobs/new`: describe a job and start it. `?dataset=NAME` chooses the dataset, `?from=JOB` begins with another job's spec.

import { call, get, list, path } from './api.js';
import { announce, fill, h, setAttribute, setText } from './dom.js';
import { FIELDS, architectureOptions, freezeOptions, getAt, setAt, showValue, valueOf } from './job_fields.js';
import { copyLine, emptyState, heading, link, problemBox, shellWord } from './parts.js';
import { goTo } from './router.js';

const DATASET = { pointer: '/dataset', label: 'Dataset', kind: 'choice', wide: true };
const WEIGHTS = { pointer: '/backbone/weights', label: 'Starting weights', kind: 'choice' };
const OTHER = 'other';

export function jobFormView(outlet, { query }) {
  const lifetime = new AbortController();
  const body = h('div', {}, h('p', { class: 'quiet' }, 'Loading …'));
  fill(outlet, h('p', { class: 'trail' }, link(['jobs'], 'Jobs')), heading('New job'), body);
  load(query, lifetime.signal)
    .then((given) => fill(body, given.datasets.length ? jobForm(given) : nothingToTrainOn()))
    .catch((problem) => lifetime.signal.aborted || fill(body, problemBox(problem)));
  return () => lifetime.abort();
}

/** The datasets, models and networks to choose from, and the spec to begin with. */
async function load(query, signal) {
  const [datasets, models, architectures, from] = await Promise.all([
    list('datasets', { wanted: 100, signal }),
    list('models', { wanted: 100, signal }),
    call('GET', path('architectures'), { signal }),
    query.get('from') ? get('jobs', query.get('from'), { signal }) : null,
  ]);
  const spec = from ? structuredClone(from.spec) : {};
  if (query.get('dataset')) spec.dataset = query.get('dataset');
  const usable = datasets.data.filter((dataset) => dataset.status !== 'failed');
  return { datasets: usable, models: models.data, architectures: architectures.data, spec };
}

function nothingToTrainOn() {
  return emptyState('There is no dataset to train on yet.', h('a', { class: 'button primary', href: '#/datasets' }, 'Upload one'));
}

function jobForm({ datasets, models, architectures, spec }) {
  const rows = [datasetRow(datasets, spec), weightsRow(models), ...FIELDS.map((field) => fieldRow(field))];
  offerArchitectures(architectures, rows, getAt(spec, '/backbone/architecture'));
  for (const row of rows) row.show(getAt(spec, row.field.pointer));
  const refusal = h('div', {});
  const line = copyLine('');
  const start = h('button', { class: 'primary', 'data-testid': 'start-job' }, 'Start the job');
  const plain = rows.filter((row) => !row.field.more);
  const form = h('form', { class: 'card', novalidate: true, 'data-testid': 'job-form' },
    h('div', { class: 'fields' }, plain.map((row) => row.node)),
    h('details', { class: 'more-fields' }, h('summary', {}, 'More settings'),
      h('div', { class: 'fields' }, rows.filter((row) => row.field.more).map((row) => row.node))),
    refusal,
    h('div', { class: 'actions' }, start),
    h('details', {}, h('summary', {}, 'The same with curl'), line.node));
  const collect = () => specOf(rows);
  const showLine = () => line.set(curlLine(collect()));
  form.addEventListener('input', showLine);
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    start.disabled = true;
    await submit(collect(), rows, refusal);
    start.disabled = false;
  });
  showLine();
  return form;
}

/** Offers the networks; the chosen one says which stages can be frozen, its usual size of picture, and which weights there are. */
function offerArchitectures(architectures, rows, chosen) {
  const [network, freeze, size, weights] = ['/backbone/architecture', '/freeze', '/image/size', WEIGHTS.pointer]
    .map((pointer) => rows.find((row) => row.field.pointer === pointer));
  fill(network.control, options(architectureOptions(architectures)));
  network.show(chosen);
  const follow = () => {
    const architecture = architectures.find((each) => each.name === network.control.value);
    if (!architecture) return;
    const frozen = freeze.control.value;
    fill(freeze.control, options(freezeOptions(architecture.stages)));
    freeze.control.value = frozen;
    // A stage that this network does not have.
    if (freeze.control.selectedIndex < 0) freeze.control.value = '';
    size.control.placeholder = String(architecture.input_size);
    weights.offer(architecture.weights);
  };
  // Before the form hears of it, and shows the spec as a line of curl.
  network.control.addEventListener('input', follow);
  follow();
}

async function submit(spec, rows, refusal) {
  fill(refusal);
  for (const row of rows) row.fault(null);
  try {
    const job = await call('POST', path('jobs'), { json: spec });
    announce(`Job ${job.name} is ${job.status}`);
    goTo(['jobs', job.id]);
  } catch (problem) {
    showFaults(problem, rows, refusal);
  }
}

/** Puts each fault beside its field; what has no field here is said above the button. */
function showFaults(problem, rows, refusal) {
  const homeless = [];
  let first = null;
  for (const error of problem.errors) {
    const row = rows.find((each) => each.field.pointer === error.pointer);
    if (!row) {
      homeless.push(error);
      continue;
    }
    row.fault(error.message);
    first ??= row;
  }
  problem.errors = homeless;
  fill(refusal, problemBox(problem));
  if (!first) return;
  first.control.closest('details')?.setAttribute('open', '');
  first.control.focus();
}

function specOf(rows) {
  const spec = {};
  for (const row of rows) {
    const value = row.value();
    if (value !== undefined) setAt(spec, row.field.pointer, value);
  }
  return spec;
}

function curlLine(spec) {
  return `curl -d ${shellWord(JSON.stringify(spec))} -H 'content-type: application/json' ${location.origin}/v1/jobs`;
}

/** A field with its label, hint and place for a fault. `extra` comes below the control. */
function fieldRow(field, control = controlFor(field), extra = null) {
  const id = `field${field.pointer.replaceAll('/', '-')}`;
  const error = h('span', { class: 'error', id: `${id}-error`, 'data-testid': `error${field.pointer.replaceAll('/', '-')}` });
  const hint = field.hint && h('span', { class: 'hint', id: `${id}-hint` }, field.hint);
  control.id = id;
  setAttribute(control, 'aria-describedby', hint ? `${id}-error ${id}-hint` : `${id}-error`);
  const label = h('label', { for: id }, field.label);
  const shape = field.kind === 'flag' ? 'field field-flag' : field.wide ? 'field field-wide' : 'field';
  const node = h('div', { class: shape }, label, control, extra, error, hint);
  return {
    field, control, node,
    value: () => valueOf(field, control),
    show: (value) => showValue(field, control, value),
    fault: (message) => {
      setText(error, message ?? '');
      setAttribute(control, 'aria-invalid', message ? 'true' : null);
    },
  };
}

function controlFor(field) {
  if (field.kind === 'choice') return h('select', { name: field.pointer }, options(field.options));
  if (field.kind === 'flag') return h('input', { type: 'checkbox', name: field.pointer });
  const mode = field.kind === 'number' ? 'decimal' : 'text';
  return h('input', { name: field.pointer, inputmode: mode, autocomplete: 'off', spellcheck: 'false', placeholder: field.example });
}

function options(pairs) {
  return pairs.map(([value, label]) => h('option', { value }, label));
}

function datasetRow(datasets, spec) {
  const described = datasets.map((dataset) => [dataset.name, dataset.status === 'processing'
    ? `${dataset.name} (being read)`
    : `${dataset.name} (${dataset.images} images, ${dataset.classes.length} classes)`]);
  // A job may have named its dataset by id.
  const named = datasets.find((dataset) => dataset.id === spec.dataset);
  if (named) spec.dataset = named.name;
  return fieldRow(DATASET, h('select', { name: '/dataset' }, options(described)));
}

/** Starting weights: the usual ones, the server's own models, or the name of a file on the server. */
function weightsRow(models) {
  const file = h('input', { 'aria-label': 'File name', placeholder: 'FILE.safetensors or FILE.pth', hidden: true, autocomplete: 'off', spellcheck: 'false' });
  const own = models.map((model) => `${model.name}@${model.version}`);
  const control = h('select', { name: WEIGHTS.pointer },
    options([['imagenet', 'ImageNet'], ['none', 'None: from scratch']]),
    own.length > 0 && h('optgroup', { label: 'Models of this server' }, options(own.map((name) => [name, name]))),
    options([[OTHER, 'A file in the weights folder …']]));
  const reveal = () => { file.hidden = control.value !== OTHER; };
  let said = false;
  control.addEventListener('change', () => {
    said = true;
    reveal();
  });
  const row = fieldRow(WEIGHTS, control, file);
  return {
    ...row,
    value: () => (control.value === OTHER ? file.value.trim() : control.value),
    /** Takes the kinds of weights that a network has, the usual one first, which is chosen where nobody has said another. */
    offer: (origins) => {
      const imagenet = [...control.options].find((option) => option.value === 'imagenet');
      imagenet.disabled = !origins.includes('imagenet');
      if (!said || (imagenet.disabled && imagenet.selected)) control.value = origins[0];
      reveal();
    },
    show: (value) => {
      if (value === undefined) return;
      said = true;
      const known = [...control.options].some((option) => option.value === value);
      control.value = known ? value : OTHER;
      if (!known) file.value = value;
      reveal();
    },
  };
}
