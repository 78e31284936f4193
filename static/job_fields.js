// The fields of the job form, each by the JSON pointer that the server names it with, and the way from a form to a spec and back.
// A field that is left empty is left out of the spec, so that the server's default applies: no default is repeated here except as a hint.

import { formatMillions } from './format.js';

/** `kind`: `text`, `number`, `pair` (two numbers), `choice`, `flag`; `options` are `[value, label]`; an empty value means "not said". */
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
  { pointer: '/augment/vertical_flip', label: 'Turn images upside down at random', kind: 'flag', more: true },
  { pointer: '/image/resize', label: 'From image to square', kind: 'choice', more: true, options: [
    ['', 'Cut out the middle'],
    ['squash', 'Squash the whole image'],
    ['letterbox', 'Whole image between bars'],
  ] },
  { pointer: '/augment/random_resized_crop', label: 'Random crops, share of the area', kind: 'pair', example: 'off, or 0.08, 1', more: true },
  { pointer: '/augment/rotation_degrees', label: 'Random rotation, degrees', kind: 'number', example: '0', more: true },
  { pointer: '/augment/color_jitter', label: 'Random colours', kind: 'number', example: '0', more: true, hint: 'Brightness, contrast and saturation, 0 to 1' },
  { pointer: '/augment/rand_augment/magnitude', label: 'RandAugment strength', kind: 'number', example: 'off', more: true, hint: '0 to 30; 9 is usual' },
  { pointer: '/augment/random_erasing', label: 'Random erasing, probability', kind: 'number', example: '0', more: true },
  { pointer: '/augment/mixup', label: 'Mixup α', kind: 'number', example: '0', more: true, hint: '0.2 is usual; 0 is off' },
  { pointer: '/augment/cutmix', label: 'CutMix α', kind: 'number', example: '0', more: true, hint: '1 is usual; 0 is off' },
  { pointer: '/augment/views', label: 'Views of each image', kind: 'number', example: 'a new one each epoch', more: true, hint: 'A fixed number is quicker where layers are frozen' },
  { pointer: '/optimizer/backbone_lr_multiplier', label: 'Learning rate of the backbone, relative', kind: 'number', example: '0.1', more: true },
  { pointer: '/optimizer/momentum', label: 'Momentum', kind: 'number', example: '0.9', more: true },
  { pointer: '/optimizer/weight_decay', label: 'Weight decay', kind: 'number', example: '0', more: true },
  { pointer: '/split/val', label: 'Share for validation', kind: 'number', example: '0.2', more: true, hint: 'Where the dataset has no validation images of its own' },
  { pointer: '/split/group_by/parts', label: 'Keep files together, parts of the name', kind: 'number', example: 'off', more: true, hint: '2 keeps patient_001_a.png and patient_001_b.png on one side' },
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
  if (field.kind === 'pair') {
    const pair = text.split(',').map(Number);
    return pair.every(Number.isFinite) ? pair : text;
  }
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
  else if (Array.isArray(value)) control.value = value.join(', ');
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
