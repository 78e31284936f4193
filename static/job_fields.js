// The fields of the job form, each by the JSON pointer that the server names it with, and the way from a form to a spec and back.
// A field that is left empty is left out of the spec, so that the server's default applies: no default is repeated here except as a hint.

import { formatMillions } from './format.js';

/** `kind`: `text`, `number`, `choice`, `flag`; `options` are `[value, label]`; an empty value means "not said". */
export const FIELDS = [
  { pointer: '/name', label: 'Model name', kind: 'text', example: 'dataset-architecture', hint: 'Models of one name are its versions 1, 2, …' },
  { pointer: '/backbone/architecture', label: 'Architecture', kind: 'choice', options: [] },
  { pointer: '/freeze', label: 'Layers that do not learn', kind: 'choice', options: [], hint: 'Automatic: all but the head with pretrained weights, none from scratch' },
  { pointer: '/image/size', label: 'Image size', kind: 'number', example: '224', hint: 'Pixels, 32 to 1024; smaller is faster' },
  { pointer: '/epochs', label: 'Epochs', kind: 'number', example: '10' },
  { pointer: '/batch_size', label: 'Batch size', kind: 'number', example: '32' },
  { pointer: '/optimizer/lr', label: 'Learning rate', kind: 'number', example: '0.001' },
  { pointer: '/seed', label: 'Seed', kind: 'number', example: '0', hint: 'The same seed gives the same run' },
  { pointer: '/augment/horizontal_flip', label: 'Mirror images at random', kind: 'flag' },
  { pointer: '/optimizer/backbone_lr_multiplier', label: 'Learning rate of the backbone, relative', kind: 'number', example: '0.1', more: true },
  { pointer: '/optimizer/momentum', label: 'Momentum', kind: 'number', example: '0.9', more: true },
  { pointer: '/optimizer/weight_decay', label: 'Weight decay', kind: 'number', example: '0', more: true },
  { pointer: '/split/val', label: 'Share for validation', kind: 'number', example: '0.2', more: true, hint: 'Where the dataset has no validation images of its own' },
  { pointer: '/device', label: 'Device', kind: 'text', example: 'auto', more: true, hint: 'auto, cpu or cuda:0' },
  { pointer: '/max_seconds', label: 'Time limit in seconds', kind: 'number', example: 'none', more: true },
];

/** The networks that the server has, as options. */
export function architectureOptions(architectures) {
  return architectures.map(({ name, parameters, input_size: size }) => (
    [name, `${name} (${formatMillions(parameters)} parameters, for ${size} px)`]));
}

/** What can be frozen of a network with these stages, as options. */
export function freezeOptions(stages) {
  return [
    ['', 'Automatic'],
    ['backbone', 'All but the head'],
    ['none', 'None: train everything'],
    ...stages.map((stage) => [`until:${stage}`, `Up to ${stage}`]),
  ];
}

/** What a field's control says, as JSON; undefined where it says nothing. */
export function valueOf(field, control) {
  if (field.kind === 'flag') return control.checked ? true : undefined;
  const text = control.value.trim();
  if (text === '') return undefined;
  if (field.kind === 'number') {
    // What is no number goes as it is: the server says what it wants there, beside the field.
    const number = Number(text);
    return Number.isFinite(number) ? number : text;
  }
  return text.startsWith('until:') ? { until: text.slice('until:'.length) } : text;
}

/** Puts a spec's value into a field's control. */
export function showValue(field, control, value) {
  if (field.kind === 'flag') control.checked = value === true;
  else if (value !== undefined && value !== null) control.value = value.until ? `until:${value.until}` : String(value);
}

/** Sets the value at a JSON pointer, making the objects on the way. */
export function setAt(document, pointer, value) {
  const names = pointer.slice(1).split('/');
  const last = names.pop();
  let place = document;
  for (const name of names) place = place[name] ??= {};
  place[last] = value;
}

/** The value at a JSON pointer, or undefined. */
export function getAt(document, pointer) {
  return pointer.slice(1).split('/').reduce((place, name) => place?.[name], document);
}
