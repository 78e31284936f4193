// The result of a cross-validation: the mean accuracy with its interval, and the accuracy on every fold for every seed.

import { h } from '../shared/dom.js';
import { formatNumber, formatShare, plural } from '../shared/format.js';
import { tile } from '../shared/widgets.js';

export function crossValidationCard({ images, architecture, weights, folds, accuracy, accuracy_interval: [low, high], macro_f1: f1, seeds, scores }) {
  const names = ['Seed', ...Array.from({ length: folds }, (_, fold) => `Fold ${fold + 1}`), 'Mean'];
  return h('section', { class: 'card found', 'data-testid': 'cross-validation' },
    h('h2', {}, 'Cross-validation'),
    h('dl', { class: 'tiles' }, [
      tile('Accuracy', formatShare(accuracy), 'cross-validation-accuracy'),
      tile('95 % interval', `${formatShare(low)} to ${formatShare(high)}`, 'cross-validation-interval'),
      tile('Macro F1', formatNumber(f1)),
    ].map((each) => each.node)),
    h('p', { class: 'quiet' }, `${plural(images, 'image')} in ${folds} folds, ${plural(seeds.length, 'time')}. Each fold was judged by a head that was made of the others, `
      + `on features of ${architecture} with the weights ${weights}. The interval allows for what the folds have in common.`),
    h('div', { class: 'scroll' }, h('table', { 'data-testid': 'folds' },
      h('thead', {}, h('tr', {}, names.map((name) => h('th', { scope: 'col' }, name)))),
      h('tbody', {}, seeds.map((each) => seedRow(each, scores))))));
}

function seedRow({ seed, accuracy }, scores) {
  const own = scores.filter((score) => score.seed === seed).map((score) => score.accuracy);
  return h('tr', {}, h('th', { scope: 'row' }, seed), [...own, accuracy].map((share) => h('td', {}, formatShare(share))));
}
