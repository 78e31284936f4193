// The rows of the job form: a field's control with its label, its hint and a place for the server's error message.

import { h, setAttribute, setText } from '../shared/dom.js';
import { architectureOptions, freezeLabel, freezeOptions, textOf, valueOf } from './fields.js';

const OTHER = 'other';
const WEIGHT_FILE = /\.(safetensors|pth|pt|pth\.tar)$/;

/**
 * The row of a field: `value()` is its value, as JSON, `show(value)` shows a spec's value, `fault(message)` shows what is wrong with
 * it. `extra` comes below the control.
 */
export function fieldRow(field, control = controlFor(field), extra = null) {
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
    pointer: field.pointer,
    value: () => valueOf(field, control),
    show: (value) => showValue(field, control, value),
    fault: (message) => {
      setText(error, message ?? '');
      setAttribute(control, 'aria-invalid', message ? 'true' : null);
    },
  };
}

/** The row of a dataset field; `datasets` are the options. */
export function datasetRow(field, datasets) {
  const control = controlFor({ ...field, options: datasets.map((dataset) => [dataset.name, datasetLabel(dataset)]) });
  return {
    ...fieldRow(field, control),
    show: (value) => {
      const named = datasets.find(({ id, name }) => value === id || value === name);
      if (value !== undefined) choose(control, value, named && datasetLabel(named));
    },
  };
}

function datasetLabel(dataset) {
  return dataset.status === 'processing'
    ? `${dataset.name} (being read)`
    : `${dataset.name} (${dataset.images} images, ${dataset.classes.length} classes)`;
}

/** The row of a model field; `models` are the options. */
export function modelRow(field, models) {
  const control = controlFor({ ...field, options: models.map((model) => [versioned(model), versioned(model)]) });
  return {
    ...fieldRow(field, control),
    show: (value) => { if (value !== undefined) choose(control, value, modelLabel(models, value)); },
  };
}

/** Base weights: pretrained ones, one of the server's models, or the name of a file on the server. */
export function weightsRow(field, models) {
  const file = h('input', { 'aria-label': 'File name', placeholder: 'FILE.safetensors, FILE.pth or hub:owner/repository', hidden: true, autocomplete: 'off', spellcheck: 'false' });
  const own = models.map((model) => versioned(model));
  // The network's known weights, as soon as it is known which network it is.
  const known = h('optgroup', { label: 'Pretrained' }, options([['imagenet', 'ImageNet']]));
  const control = h('select', { name: field.pointer },
    known,
    options([['none', 'None: train from scratch']]),
    own.length > 0 && h('optgroup', { label: 'Models on this server' }, options(own.map((name) => [name, name]))),
    options([[OTHER, 'A file in the weights folder, or hub:owner/repository …']]));
  const reveal = () => { file.hidden = control.value !== OTHER; };
  let said = false;
  control.addEventListener('change', () => {
    said = true;
    reveal();
  });
  return {
    ...fieldRow(field, control, file),
    value: () => (control.value === OTHER ? file.value.trim() : control.value),
    /**
     * Takes a network's description. Its default weights are selected unless the user has chosen others. The user's choice is kept even if
     * the network does not have it: the server then says so.
     */
    offer: (architecture) => {
      const chosen = control.value;
      known.replaceChildren(...options(architecture.weight_sets.map((set) => [set.name, setLabel(set)])));
      known.hidden = architecture.weight_sets.length === 0;
      if (said) choose(control, chosen);
      else control.value = architecture.weights[0];
      reveal();
    },
    show: (value) => {
      if (value === undefined) return;
      said = true;
      if (WEIGHT_FILE.test(value) || value.startsWith('hub:')) [control.value, file.value] = [OTHER, value];
      else choose(control, value, modelLabel(models, value));
      reveal();
    },
  };
}

/** Offers the networks; the selected one determines which stages can be frozen and the default image size, where these are fields, and the available weights. */
export function offerArchitectures(architectures, rows) {
  const [network, freeze, size, weights] = ['/backbone/architecture', '/freeze', '/image/size', '/backbone/weights']
    .map((pointer) => rows.find((row) => row.pointer === pointer));
  network.control.replaceChildren(...options(architectureOptions(architectures)));
  const follow = () => {
    const architecture = architectures.find((each) => each.name === network.control.value);
    if (!architecture) return;
    if (freeze) {
      const frozen = freeze.control.value;
      freeze.control.replaceChildren(...options(freezeOptions(architecture.stages)));
      choose(freeze.control, frozen, freezeLabel(frozen, architecture.name));
    }
    if (size) size.control.placeholder = String(architecture.weight_sets[0]?.input_size ?? architecture.input_size);
    weights.offer(architecture);
  };
  // Runs before the form's own listener, which shows the spec as a curl command.
  network.control.addEventListener('input', follow);
  return follow;
}

/** Whose weights they are: `ImageNet (torchvision, BSD-3-Clause, 47 MB)`. */
function setLabel(set) {
  const name = set.name === 'imagenet' ? 'ImageNet' : set.name;
  return `${name} (${set.author}, ${set.licence}, ${Math.round(set.bytes / 1e6)} MB)`;
}

/** Selects `value`, adding it if it is not an option: a job's setting is not lost because this page does not offer it. */
function choose(control, value, label = value) {
  const known = [...control.options].find((option) => option.value === value || option.textContent === label);
  // The same object by its id instead of its name; the id is then sent.
  if (known) known.value = value;
  else control.append(...options([[value, label]]));
  control.value = value;
}

function showValue(field, control, value) {
  if (field.kind === 'flag') control.checked = value === true;
  else if (value === undefined) return;
  else if (field.kind === 'choice') choose(control, textOf(value));
  else control.value = textOf(value);
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

function versioned({ name, version }) {
  return `${name}@${version}`;
}

/** A job refers to models by their ids. */
function modelLabel(models, reference) {
  const model = models.find(({ id }) => id === reference);
  return model && versioned(model);
}
