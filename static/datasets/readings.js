// How an archive was read, and other ways to read it, each with a button.

import { call, path } from '../shared/api.js';
import { h } from '../shared/dom.js';
import { formatCount, plural } from '../shared/format.js';
import { problemBox } from '../shared/widgets.js';

const NAMES_SHOWN = 6;

/** The card with the readings that were not chosen; `onReread` gets the dataset, which is being read again. */
export function readingsCard(dataset, onReread) {
  const readings = dataset.report?.readings ?? [];
  if (readings.length === 0) return null;
  const problem = h('div', {});
  const choose = async (button, options) => {
    button.disabled = true;
    try {
      onReread(await call('POST', path('datasets', dataset.id, 'reread'), { json: options }));
    } catch (fault) {
      problem.replaceChildren(problemBox(fault));
      button.disabled = false;
    }
  };
  return h('section', { class: 'card', 'data-testid': 'readings' },
    h('h2', {}, 'Other ways to read this archive'),
    h('p', { class: 'quiet' }, 'If the classes above are not the ones that you mean, choose another reading. It becomes the next version; this one is kept.'),
    h('ul', { class: 'plain' }, readings.map((reading) => {
      const button = h('button', { type: 'button', class: 'small', onclick: () => choose(button, reading.options) }, 'Read it this way');
      return h('li', {}, h('strong', {}, wayInWords(reading.options)), `: ${summary(reading)} `, button);
    })),
    problem);
}

/** `folders on level 2`, `the column breed of labels.csv` */
function wayInWords(options) {
  switch (options.classes) {
    case 'folders': return options.level ? `folders on level ${options.level}` : 'folders';
    case 'table': return options.table ? `the table ${options.table}` : 'the tables';
    case 'file_name': return `file names like ${options.pattern}`;
    default: return 'no classes';
  }
}

function summary({ classes, class_names: names, images, splits }) {
  const shown = names.slice(0, NAMES_SHOWN).join(', ');
  const more = classes > NAMES_SHOWN ? ', …' : '';
  const divided = splits.val + splits.test > 0
    ? ` (${formatCount(splits.train)} training, ${formatCount(splits.val)} validation, ${formatCount(splits.test)} test)` : '';
  return `${plural(images, 'image')}${divided} in ${plural(classes, 'class', 'classes')}: ${shown}${more}`;
}
