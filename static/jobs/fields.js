// The fields of the job form, each with the JSON pointer that the server uses for it, and the conversion between controls and values.
// An empty field is omitted from the spec, so that the server's default applies: defaults are repeated here only as hints.

import { formatMillions, plural } from '../shared/format.js';

/** Names of the kinds of jobs other than training. */
export const KINDS = { evaluate: 'evaluation', lr_find: 'learning rate search', 'batch-predict': 'batch prediction', compare: 'comparison of backbones', pretrain: 'pretraining', label_check: 'label check', cross_validate: 'cross-validation' };

const DATASET = { pointer: '/dataset', label: 'Dataset', kind: 'choice', wide: true };
const JOB_NAME = { pointer: '/name', label: 'Job name', kind: 'text', example: "the model's" };
const MODEL = { pointer: '/model', label: 'Model', kind: 'choice', options: [], wide: true };
const BATCH_SIZE = { pointer: '/batch_size', label: 'Batch size', kind: 'number', example: '32' };
const SPLIT = { pointer: '/split', label: 'Split', kind: 'choice', options: [
  ['all', 'All images'],
  ['val', 'Validation images'],
  ['test', 'Test images'],
  ['train', 'Training images'],
] };
const DEVICE = { pointer: '/device', label: 'Device', kind: 'text', example: 'auto', more: true, hint: 'auto, cpu or cuda:0' };
const MAX_SECONDS = { pointer: '/max_seconds', label: 'Time limit in seconds', kind: 'number', example: 'none', more: true };

const WEIGHTS = { pointer: '/backbone/weights', label: 'Base weights', kind: 'choice' };
const ARCHITECTURE = { pointer: '/backbone/architecture', label: 'Architecture', kind: 'choice', options: [] };
const IMAGE_SIZE = { pointer: '/image/size', label: 'Image size', kind: 'number', example: '224', hint: 'Pixels, 32 to 1024; smaller is faster' };
const SEED = { pointer: '/seed', label: 'Seed', kind: 'number', example: '0', hint: 'The same seed gives the same run' };

/**
 * `kind`: `text`, `number`, `pair` (two numbers), `backbones` (names, or `name=weights`), `choice`, `flag`; `options` are `[value, label]`; an empty value means "not set".
 * `whole` is the object that a field switches on, which is removed when the field is emptied.
 */
const TRAIN = [
  DATASET,
  { pointer: '/preset', label: 'Preset', kind: 'choice', hint: 'Gives a value to every field that is left empty', options: [
    ['', 'Usual defaults'],
    ['quick', 'Quick: a head in seconds'],
    ['strong', 'Strong: all layers, as the authors do'],
    ['auto', 'Automatic'],
  ] },
  WEIGHTS,
  { pointer: '/task', label: 'Labels of an image', kind: 'choice', options: [
    ['', 'One class'],
    ['multi_label', 'Several labels'],
    ['multi_task', 'An answer to each of several questions'],
  ] },
  { pointer: '/name', label: 'Model name', kind: 'text', example: 'dataset-architecture', hint: 'Models with the same name become versions 1, 2, …' },
  ARCHITECTURE,
  { pointer: '/freeze', label: 'Frozen layers', kind: 'choice', options: [], hint: 'Automatic: all but the head with pretrained weights, none from scratch' },
  IMAGE_SIZE,
  { pointer: '/epochs', label: 'Epochs', kind: 'number', example: '10' },
  BATCH_SIZE,
  { pointer: '/optimizer/lr', label: 'Learning rate', kind: 'number', example: '0.001' },
  { pointer: '/head/kind', label: 'Head', kind: 'choice', more: true, options: [
    ['', 'Linear'],
    ['mlp', 'MLP with one hidden layer'],
    ['prototype', 'Mean features of each class'],
    ['knn', 'Nearest training images'],
  ] },
  { pointer: '/head/solver', label: 'Solver of the head', kind: 'choice', more: true, hint: 'L-BFGS needs frozen layers and no augmentation; it has no epochs and no learning rate', options: [
    ['', 'Step by step'],
    ['lbfgs', 'L-BFGS, to convergence'],
  ] },
  { pointer: '/head/l2', label: 'Penalty of L-BFGS', kind: 'number', example: 'chosen by validation', more: true },
  SEED,
  { pointer: '/augment/horizontal_flip', label: 'Random horizontal flips', kind: 'flag' },
  { pointer: '/augment/vertical_flip', label: 'Random vertical flips', kind: 'flag', more: true },
  { pointer: '/image/resize', label: 'Resizing', kind: 'choice', more: true, options: [
    ['shortest_crop', 'Crop the centre'],
    ['squash', 'Squash the whole image'],
    ['letterbox', 'Letterbox the whole image'],
  ] },
  { pointer: '/augment/random_resized_crop', label: 'Random crops, share of the area', kind: 'pair', example: 'off, or 0.08, 1', more: true },
  { pointer: '/augment/rotation_degrees', label: 'Random rotation, degrees', kind: 'number', example: '0', more: true },
  { pointer: '/augment/color_jitter', label: 'Colour jitter', kind: 'number', example: '0', more: true, hint: 'Brightness, contrast and saturation, 0 to 1' },
  { pointer: '/augment/rand_augment/magnitude', label: 'RandAugment strength', kind: 'number', example: 'off', more: true, hint: '0 to 30; 9 is usual', whole: '/augment/rand_augment' },
  { pointer: '/augment/random_erasing', label: 'Random erasing, probability', kind: 'number', example: '0', more: true },
  { pointer: '/augment/mixup', label: 'Mixup α', kind: 'number', example: '0', more: true, hint: '0.2 is usual; 0 is off' },
  { pointer: '/augment/cutmix', label: 'CutMix α', kind: 'number', example: '0', more: true, hint: '1 is usual; 0 is off' },
  { pointer: '/augment/views', label: 'Views of each image', kind: 'number', example: 'a new one each epoch', more: true, hint: 'A fixed number is faster with frozen layers' },
  { pointer: '/optimizer/backbone_lr_multiplier', label: 'Backbone learning rate, relative', kind: 'number', example: '0.1', more: true },
  { pointer: '/optimizer/momentum', label: 'Momentum', kind: 'number', example: '0.9', more: true },
  { pointer: '/optimizer/weight_decay', label: 'Weight decay', kind: 'number', example: '0', more: true },
  { pointer: '/domain_adaptation/method', label: 'Adapt to another domain', kind: 'choice', more: true, whole: '/domain_adaptation', hint: 'Needs layers that are not frozen', options: [
    ['', 'No'],
    ['coral', 'CORAL: equal covariances'],
    ['mmd', 'MMD: equal distributions'],
    ['dann', 'DANN: a domain classifier as opponent'],
    ['adabn', 'AdaBN: statistics of the target'],
  ] },
  { pointer: '/domain_adaptation/target_dataset', label: 'Dataset of that domain', kind: 'text', example: 'none', more: true, hint: 'Its labels, if it has any, are not used in training' },
  { pointer: '/domain_adaptation/weight', label: 'Weight of the alignment', kind: 'number', example: 'by method', more: true },
  { pointer: '/distill/teacher', label: 'Learn from the model', kind: 'backbones', example: 'none', more: true, whole: '/distill', hint: 'Names of models with the same classes, separated by commas' },
  { pointer: '/distill/temperature', label: 'Temperature of the teachers', kind: 'number', example: '4', more: true },
  { pointer: '/adapt/lora/rank', label: 'Rank of a LoRA adapter', kind: 'number', example: 'none', more: true, whole: '/adapt', hint: 'Only for transformers; 8 is usual. Trains and stores an adapter instead of all weights' },
  { pointer: '/split/val', label: 'Validation share', kind: 'number', example: '0.2', more: true, hint: 'If the dataset has no validation split of its own' },
  { pointer: '/split/group_by/parts', label: 'Group files by leading parts of the name', kind: 'number', example: 'off', more: true, hint: '2 keeps patient_001_a.png and patient_001_b.png in the same split', whole: '/split/group_by' },
  DEVICE,
  MAX_SECONDS,
];

/** A search starts like the training job it is for; these fields of the training job do not affect it. */
const LR_FIND = [
  ...TRAIN.filter(({ pointer }) => !pointer.startsWith('/domain_adaptation') && !pointer.startsWith('/distill')).map((field) => (['/epochs', '/optimizer/lr'].includes(field.pointer)
    ? { ...field, more: true, hint: 'For training; no effect on the search' }
    : field)),
  { pointer: '/lr_find/min_lr', label: 'First learning rate', kind: 'number', example: '0.000001' },
  { pointer: '/lr_find/max_lr', label: 'Last learning rate', kind: 'number', example: '1' },
  { pointer: '/lr_find/steps', label: 'Steps', kind: 'number', example: '100', hint: '20 to 10000' },
];

const EVALUATE = [MODEL, DATASET, JOB_NAME, SPLIT, BATCH_SIZE, DEVICE, MAX_SECONDS];
const TOP_K = { pointer: '/top_k', label: 'Classes per image', kind: 'number', example: '5' };

const COMPARE = [
  DATASET,
  { pointer: '/backbones', label: 'Backbones', kind: 'backbones', example: 'resnet18, efficientnet_lite0', wide: true, hint: 'Architectures, separated by commas; resnet18=own.pth for other weights than the usual ones' },
  { pointer: '/name', label: 'Job name', kind: 'text', example: 'compare' },
  BATCH_SIZE,
  DEVICE,
  MAX_SECONDS,
];

const PRETRAIN = [
  DATASET,
  { pointer: '/method', label: 'Method', kind: 'choice', options: [
    ['', 'Usual for the network'],
    ['simsiam', 'SimSiam'],
    ['dino', 'DINO'],
  ] },
  WEIGHTS,
  { pointer: '/name', label: 'Model name', kind: 'text', example: 'dataset-architecture-method', hint: 'Models with the same name become versions 1, 2, …' },
  ARCHITECTURE,
  IMAGE_SIZE,
  { pointer: '/epochs', label: 'Epochs', kind: 'number', example: '100' },
  { ...BATCH_SIZE, example: '64' },
  { pointer: '/optimizer/lr', label: 'Learning rate', kind: 'number', example: 'by method', more: true },
  SEED,
  { pointer: '/split/val', label: 'Validation share', kind: 'number', example: '0.2', more: true, hint: 'Labelled images that the features are measured on; they are not learned from' },
  DEVICE,
  MAX_SECONDS,
];

const FOLDS = { pointer: '/folds', label: 'Folds', kind: 'number', example: '5', hint: '2 to 20; every class needs as many images' };

const GROUP_BY = { pointer: '/group_by/parts', label: 'Group files by leading parts of the name', kind: 'number', example: 'off', more: true, hint: '2 keeps patient_001_a.png and patient_001_b.png in the same fold', whole: '/group_by' };

const CROSS_VALIDATE = [
  DATASET,
  WEIGHTS,
  ARCHITECTURE,
  IMAGE_SIZE,
  { pointer: '/name', label: 'Job name', kind: 'text', example: 'cross-validation' },
  FOLDS,
  { pointer: '/repeats', label: 'Repeats', kind: 'number', example: '3', hint: 'How often the images are divided anew' },
  { ...SEED, hint: 'The first one; each repeat has the next' },
  BATCH_SIZE,
  { pointer: '/head/l2', label: 'Penalty of L-BFGS', kind: 'number', example: 'chosen', more: true },
  GROUP_BY,
  DEVICE,
  MAX_SECONDS,
];

const LABEL_CHECK = [
  DATASET,
  WEIGHTS,
  ARCHITECTURE,
  { pointer: '/name', label: 'Job name', kind: 'text', example: 'label-check' },
  FOLDS,
  SEED,
  BATCH_SIZE,
  GROUP_BY,
  DEVICE,
  MAX_SECONDS,
];

/** The fields of each kind of job. */
export const FIELDS = {
  train: TRAIN,
  lr_find: LR_FIND,
  evaluate: EVALUATE,
  'batch-predict': EVALUATE.flatMap((field) => (field === SPLIT ? [SPLIT, TOP_K] : [field])),
  compare: COMPARE,
  cross_validate: CROSS_VALIDATE,
  label_check: LABEL_CHECK,
  pretrain: PRETRAIN,
};

/** The server's networks, as options. */
export function architectureOptions(architectures) {
  return architectures.map(({ name, parameters, input_size: size }) => (
    [name, `${name} (${formatMillions(parameters)} parameters, for ${size} px)`]));
}

/** What can be frozen in a network with these stages, as options. */
export function freezeOptions(stages) {
  return [
    ['', 'Automatic'],
    ['backbone', 'All but the head'],
    ['none', 'None: train everything'],
    ...stages.map((stage) => [`until:${stage}`, `Up to ${stage}`]),
  ];
}

/** The label of a choice that is not among `freezeOptions`: one of another network, or one that only a spec can make. */
export function freezeLabel(choice, architecture) {
  const [way, detail] = choice.split(':');
  return way === 'gradual'
    ? `All but the head at first, then one stage fewer every ${plural(Number(detail), 'epoch')}`
    : `Up to ${detail}, which ${architecture} does not have`;
}

/** The value of a field's control, as JSON; undefined if it is empty. */
export function valueOf(field, control) {
  if (field.kind === 'flag') return control.checked ? true : undefined;
  const text = control.value.trim();
  if (text === '') return undefined;
  if (field.kind === 'pair') {
    const pair = text.split(',').map(Number);
    return pair.every(Number.isFinite) ? pair : text;
  }
  if (field.kind === 'backbones') return text.split(',').map((name) => name.trim()).filter(Boolean).map(backboneOf);
  // An invalid number is sent as it is: the server's message appears beside the field.
  if (field.kind === 'number') return isExact(Number(text)) ? Number(text) : text;
  const [way, detail] = field.pointer === '/freeze' ? text.split(':') : [];
  if (way === 'until') return { until: detail };
  if (way === 'gradual') return { gradual: Number(detail) };
  return text;
}

function backboneOf(text) {
  const [architecture, weights] = text.split('=').map((part) => part.trim());
  return weights ? { architecture, weights } : architecture;
}

/** The text of a control for a value of a spec. */
export function textOf(value) {
  if (Array.isArray(value)) return value.map(textOf).join(', ');
  if (value.architecture) return value.weights ? `${value.architecture}=${value.weights}` : value.architecture;
  if (value.until) return `until:${value.until}`;
  if (value.gradual) return `gradual:${value.gradual}`;
  return String(value);
}

/** JavaScript loses the last digits of large integers: a wrong seed must not be sent silently. */
export function isExact(number) {
  return Number.isFinite(number) && (!Number.isInteger(number) || Number.isSafeInteger(number));
}
