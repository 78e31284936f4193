// An evaluation, on the model's page and on its job's page: metrics, scores per class, confusion matrix, worst mistakes.

import { h } from '../shared/dom.js';
import { formatBytes, formatCount, formatMillions, formatNumber, formatShare, plural } from '../shared/format.js';
import { tile } from '../shared/widgets.js';

/** A matrix of more classes would be unreadable. */
const MATRIX_CLASSES = 40;
const MISTAKES_SHOWN = 10;

export function evaluationCard(evaluation) {
  const { dataset, split, images } = evaluation;
  const which = split === 'all' ? 'all' : `the ${{ val: 'validation', train: 'training', test: 'test' }[split]}`;
  return h('section', { class: 'card found', 'data-testid': 'evaluation' },
    h('h2', {}, 'Evaluation'),
    h('p', { class: 'quiet' }, `Measured on ${which} images of `, h('bdi', {}, dataset.name), `, ${plural(images, 'image')}.`),
    numbers(evaluation), adaptation(evaluation), distillation(evaluation), calibration(evaluation), taskTable(evaluation), classTable(evaluation), confusionMatrix(evaluation), mistakes(evaluation));
}

function numbers({ accuracy, top5_accuracy: top5, macro_f1: f1, loss, classes, multi_label: several, tasks }) {
  const right = several ? 'All labels right' : 'Accuracy';
  return h('dl', { class: 'tiles' }, [
    several && tile('mAP', formatNumber(several.mean_average_precision), 'evaluation-map'),
    tile(tasks ? 'All answers right' : right, formatShare(accuracy), 'evaluation-accuracy'),
    several && tile('Micro F1', formatNumber(several.micro_f1)),
    top5 !== null && classes.length > 5 ? tile('Top-5 accuracy', formatShare(top5)) : null,
    tile('Macro F1', formatNumber(f1), 'evaluation-macro-f1'),
    tile('Loss', formatNumber(loss)),
  ].filter(Boolean).map((each) => each.node));
}

/** How an adapted model does on the target domain, beside the same training without adaptation. */
function adaptation({ adaptation: found }) {
  if (!found) return false;
  const { method, target, images, source_only: before, adapted } = found;
  const row = (name, score) => h('tr', {}, h('th', { scope: 'row' }, name),
    [score.test ? `${formatShare(score.test.accuracy)} (${score.test.accuracy_interval.map(formatShare).join(' to ')})` : 'no labels',
      formatShare(score.domain_accuracy)].map((cell) => h('td', {}, cell)));
  const labelled = adapted.test ? ` Accuracy on its ${plural(adapted.test.images, 'image')} of the split ${adapted.test.split}, whose labels were not used.` : '';
  return h('div', { 'data-testid': 'adaptation' }, h('h3', {}, 'On the target domain'),
    h('p', { class: 'quiet' }, `Adapted by ${method} to ${plural(images, 'image')} of `, h('bdi', {}, target.name), `.${labelled} If the domains cannot be told apart by the features, that share is 50 %.`),
    h('div', { class: 'scroll' }, h('table', {},
      h('thead', {}, h('tr', {}, ['', 'Accuracy', 'Domain told'].map((title) => h('th', { scope: 'col' }, title)))),
      h('tbody', {}, before ? row('Without adaptation', before) : false, row('Adapted', adapted)))));
}

/** How a model compares with those that it learned from. */
function distillation({ distillation: found }) {
  if (!found) return false;
  const { teachers, teacher_accuracy: theirs, student, student_accuracy: own, alone_accuracy: alone } = found;
  const row = (name, cost, accuracy) => h('tr', {}, h('th', { scope: 'row' }, name),
    [cost?.architecture ?? '', accuracy === null ? '' : formatShare(accuracy), cost ? formatMillions(cost.parameters) : '', cost ? formatBytes(cost.bytes) : '',
      cost ? `${formatNumber(cost.latency_ms)} ms` : ''].map((cell) => h('td', {}, cell)));
  const several = teachers.length > 1;
  return h('div', { 'data-testid': 'distillation' }, h('h3', {}, 'Learned from other models'),
    h('div', { class: 'scroll' }, h('table', {},
      h('thead', {}, h('tr', {}, ['', 'Network', 'Accuracy', 'Parameters', 'Size', 'One image'].map((title) => h('th', { scope: 'col' }, title)))),
      h('tbody', {}, teachers.map((teacher, place) => row(several ? `Teacher ${place + 1}` : 'Teacher', teacher, several ? null : theirs)),
        several ? row('Teachers together', null, theirs) : false,
        alone === null ? false : row('Student without teachers', student, alone), row('Student', student, own)))));
}

function calibration({ calibration: { temperature, ece_before: before, ece_after: after }, tasks }) {
  if (tasks) {
    const text = `Calibration error ${formatShare(after)} with the temperatures of the tasks, ${formatShare(before)} without: the average gap between confidence and accuracy, a mean over the tasks.`;
    return h('p', { class: 'quiet', 'data-testid': 'calibration' }, text);
  }
  const text = temperature === 1
    ? `Calibration error ${formatShare(before)}: the average gap between confidence and accuracy. The probabilities are not calibrated.`
    : `Calibration error ${formatShare(after)} at temperature ${formatNumber(temperature)}, ${formatShare(before)} without: the average gap between confidence and accuracy.`;
  return h('p', { class: 'quiet', 'data-testid': 'calibration' }, text);
}

function classTable({ classes, multi_label: several }) {
  const names = ['Class', 'Precision', 'Recall', 'F1', 'Images', ...(several ? ['Threshold', 'AP', 'AUC'] : [])];
  const number = (value) => (typeof value === 'number' ? formatNumber(value) : 'unknown');
  const row = ({ name, precision, recall, f1, support, threshold, average_precision: ap, auc }) => h('tr', {},
    h('th', { scope: 'row' }, h('bdi', {}, name)),
    [formatShare(precision), formatShare(recall), formatNumber(f1), formatCount(support), ...(several ? [threshold, ap, auc].map(number) : [])]
      .map((cell) => h('td', {}, cell)));
  return h('details', { open: classes.length <= 20 }, h('summary', {}, 'Scores per class'),
    h('div', { class: 'scroll' }, h('table', { 'data-testid': 'class-scores' },
      h('thead', {}, h('tr', {}, names.map((name) => h('th', { scope: 'col' }, name)))),
      h('tbody', {}, classes.map(row)))));
}

/** Of a model of several tasks: how good it is in each. */
function taskTable({ tasks }) {
  if (!tasks) return false;
  const row = (task) => h('tr', {}, h('th', { scope: 'row' }, h('bdi', {}, task.name)),
    [formatShare(task.accuracy), formatNumber(task.macro_f1), formatNumber(task.loss), formatShare(task.calibration.ece_after), formatCount(task.images)]
      .map((cell) => h('td', {}, cell)));
  const names = ['Task', 'Accuracy', 'Macro F1', 'Loss', 'Calibration error', 'Images'];
  return h('div', { class: 'scroll' }, h('table', { 'data-testid': 'task-scores' },
    h('thead', {}, h('tr', {}, names.map((name) => h('th', { scope: 'col' }, name)))),
    h('tbody', {}, tasks.map(row))));
}

function confusionMatrix({ classes, confusion_matrix: matrix }) {
  // Images with several labels are in no single row.
  if (matrix.length === 0) return false;
  if (classes.length > MATRIX_CLASSES) {
    return h('p', { class: 'quiet' }, `The confusion matrix of ${formatCount(classes.length)} classes is too large to show here; the API returns it.`);
  }
  const row = (counts, truth) => {
    const support = counts.reduce((sum, count) => sum + count, 0);
    return h('tr', {}, h('th', { scope: 'row' }, h('bdi', {}, classes[truth].name)),
      counts.map((count, predicted) => matrixCell(count, support, truth === predicted)));
  };
  return h('details', { open: classes.length <= 20 }, h('summary', {}, 'Confusion matrix'),
    h('div', { class: 'scroll' }, h('table', { class: 'matrix', 'data-testid': 'confusion' },
      h('caption', { class: 'quiet' }, 'Rows: true class. Columns: predicted class.'),
      h('thead', {}, h('tr', {}, h('td', {}), classes.map(({ name }) => h('th', { scope: 'col' }, h('bdi', {}, name))))),
      h('tbody', {}, matrix.map(row)))));
}

/** The larger its share of the row, the darker. */
function matrixCell(count, support, right) {
  const cell = h('td', { class: right ? 'matrix-right' : 'matrix-wrong' }, count === 0 ? '' : formatCount(count));
  cell.style.setProperty('--share', String(support > 0 ? count / support : 0));
  return cell;
}

function mistakes({ mistakes: wrong }) {
  if (wrong.length === 0) return h('p', {}, 'Every image was classified correctly.');
  const line = ({ path, class: truth, predicted, probability }) => h('li', {},
    h('code', {}, path), ' is ', h('strong', {}, h('bdi', {}, truth)), ', predicted as ', h('strong', {}, h('bdi', {}, predicted)),
    ` (${formatShare(probability)})`);
  const rest = wrong.slice(MISTAKES_SHOWN);
  return h('div', { 'data-testid': 'mistakes' }, h('h3', {}, 'The worst mistakes'),
    h('ol', { class: 'mistakes' }, wrong.slice(0, MISTAKES_SHOWN).map(line)),
    rest.length > 0 && h('details', {}, h('summary', {}, `${formatCount(rest.length)} more`),
      h('ol', { class: 'mistakes', start: MISTAKES_SHOWN + 1 }, rest.map(line))));
}
