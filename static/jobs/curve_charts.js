// The live curves of a job: loss over steps, accuracy over epochs, and every epoch in a table.

import { LineChart } from '../shared/chart.js';
import { Curves } from './curves.js';
import { fill, h } from '../shared/dom.js';
import { formatCount, formatNumber, formatSeconds, formatShare } from '../shared/format.js';

export class JobCurves {
  #curves = new Curves();
  #scheduled = false;
  #epochsShown = null;

  constructor() {
    this.loss = new LineChart({
      title: 'Loss', xLabel: 'step', formatX: formatCount, formatY: formatNumber, testId: 'loss-chart',
      lines: [
        { key: 'train_loss', label: 'Training', tone: 1, describe: (points) => inWords('Training loss', points, 'step', formatNumber, 'min') },
        { key: 'val_loss', label: 'Validation', tone: 2, marks: true, describe: (points) => inWords('Validation loss', points, 'step', formatNumber, 'min') },
      ],
    });
    this.accuracy = new LineChart({
      title: 'Accuracy', xLabel: 'epoch', formatX: formatCount, formatY: (value) => `${Math.round(value * 100)} %`, range: [0, 1], testId: 'accuracy-chart',
      lines: [
        { key: 'train_accuracy', label: 'Training', tone: 1, marks: true, describe: (points) => inWords('Training accuracy', points, 'epoch', formatShare, 'max') },
        { key: 'val_accuracy', label: 'Validation', tone: 2, marks: true, describe: (points) => inWords('Validation accuracy', points, 'epoch', formatShare, 'max') },
      ],
    });
    // Only of a pretraining.
    this.features = new LineChart({
      title: 'Features', xLabel: 'epoch', formatX: formatCount, formatY: (value) => `${Math.round(value * 100)} %`, range: [0, 1], testId: 'features-chart',
      lines: [
        { key: 'knn_accuracy', label: 'Nearest neighbours', tone: 1, marks: true, describe: (points) => inWords('Accuracy of nearest neighbours', points, 'epoch', formatShare, 'max') },
        { key: 'feature_spread', label: 'Spread', tone: 2, marks: true, describe: (points) => inWords('Spread of the features', points, 'epoch', formatShare, 'max') },
      ],
    });
    this.features.node.hidden = true;
    // Only of a training that adapts to another domain or learns from teachers.
    this.seconds = ['alignment_loss', 'distillation_loss'].map((key) => secondChart(key));
    this.table = h('tbody', {});
    this.titles = h('tr', {});
    this.node = h('div', { class: 'stack' },
      h('div', { class: 'charts' }, this.loss.node, this.accuracy.node, this.features.node, this.seconds.map(({ chart }) => chart.node)),
      h('details', {}, h('summary', {}, 'All epochs as a table'),
        h('div', { class: 'scroll' }, h('table', { 'data-testid': 'epochs' },
          h('thead', {}, this.titles), this.table))));
  }

  apply(kind, data) {
    this.#curves.apply(kind, data);
    if (['step', 'epoch', 'rewind'].includes(kind)) this.#schedule();
  }

  get isEmpty() {
    return this.#curves.steps.length === 0 && this.#curves.epochs.length === 0;
  }

  destroy() {
    this.loss.destroy();
    this.accuracy.destroy();
    this.features.destroy();
    this.seconds.forEach(({ chart }) => chart.destroy());
  }

  /** A replay brings thousands of events at once; they are drawn once. */
  #schedule() {
    if (this.#scheduled) return;
    this.#scheduled = true;
    requestAnimationFrame(() => {
      this.#scheduled = false;
      this.#show();
    });
  }

  #show() {
    const curves = this.#curves;
    this.loss.set({ train_loss: curves.perStep('train_loss'), val_loss: curves.perEpoch('val_loss', 'step') });
    this.accuracy.set({ train_accuracy: curves.perEpoch('train_accuracy'), val_accuracy: curves.perEpoch('val_accuracy') });
    const features = { knn_accuracy: curves.perEpoch('knn_accuracy'), feature_spread: curves.perEpoch('feature_spread') };
    this.features.set(features);
    this.features.node.hidden = features.feature_spread.length === 0;
    this.accuracy.node.hidden = !this.features.node.hidden;
    for (const { key, chart } of this.seconds) {
      const points = curves.perStep(key);
      chart.node.hidden = points.length === 0;
      chart.set({ [key]: points });
    }
    const newest = curves.epochs.at(-1);
    if (newest === this.#epochsShown) return;
    this.#epochsShown = newest;
    // A head that L-BFGS solves has no epochs: it has one row for each penalty.
    const isSolved = curves.epochs.some((epoch) => epoch.l2 != null);
    const [first, parameter] = isSolved ? ['Solution', 'Penalty (l2)'] : ['Epoch', 'Learning rate'];
    const titles = [first, 'Training loss', 'Training accuracy', 'Validation loss', 'Validation accuracy', parameter, 'Time'];
    fill(this.titles, titles.map((title) => h('th', { scope: 'col' }, title)));
    fill(this.table, curves.epochs.map((epoch) => epochRow(epoch, epoch === curves.bestEpoch)));
  }
}

const SECOND_TITLES = { alignment_loss: 'Loss between the domains', distillation_loss: 'Divergence from the teachers' };

function secondChart(key) {
  const title = SECOND_TITLES[key];
  const chart = new LineChart({
    title, xLabel: 'step', formatX: formatCount, formatY: formatNumber, testId: `${key}-chart`,
    lines: [{ key, label: 'Training', tone: 1, describe: (points) => inWords(title, points, 'step', formatNumber, 'min') }],
  });
  chart.node.hidden = true;
  return { key, chart };
}

function epochRow(epoch, best) {
  const cells = [formatNumber(epoch.train_loss), formatShare(epoch.train_accuracy), formatNumber(epoch.val_loss),
    formatShare(epoch.val_accuracy), formatNumber(epoch.l2 ?? epoch.lr), formatSeconds(epoch.seconds)];
  return h('tr', { class: best ? 'best' : null },
    h('th', { scope: 'row' }, best ? `${epoch.epoch} (best)` : epoch.epoch), cells.map((cell) => h('td', {}, cell)));
}

/** `Training loss: 1.42 at step 1, 0.31 at step 80; lowest 0.30.` */
function inWords(name, points, unit, format, better) {
  const at = (point) => `${format(point.y)} at ${unit} ${formatCount(point.x)}`;
  if (points.length === 1) return `${name}: ${at(points[0])}.`;
  const best = points.reduce((a, b) => ((better === 'max' ? b.y > a.y : b.y < a.y) ? b : a));
  const extreme = better === 'max' ? 'highest' : 'lowest';
  return `${name}: ${at(points[0])}, ${at(points.at(-1))}; ${extreme} ${format(best.y)}.`;
}
