// Settings that a new job copies from another one although the job form has no field for them: each is listed with its value and can be
// left out.

import { h, setAttribute, setText } from '../shared/dom.js';
import { isExact } from './fields.js';
import { contains, getAt, valuesOf } from '../shared/pointers.js';

/** Objects that switch something on, and so are copied as a whole or not at all. */
const WHOLE = ['/early_stopping'];
const LOST = 'has more digits than this page can represent, so it is left out; use the API to set it';
/** The kind of job is not a setting. */
const APART = ['/kind'];

/**
 * The settings of `spec` that no field of the form covers (`pointers`). `node` is a section of the form, null if there are none; `rows` are
 * the settings, of which those that are not `wanted()` are left out; `show(sent)` hides settings that would not be sent anyway.
 */
export function carriedSettings(spec, pointers) {
  const rows = valuesOf(spec, WHOLE)
    .filter(([pointer]) => ![...APART, ...pointers].some((other) => contains(other, pointer)))
    .map(([pointer, value], index) => settingRow(pointer, value, `carried-${index}`));
  return { rows, node: rows.length ? settingsSection(rows) : null, show: (sent) => rows.forEach((row) => row.show(sent)) };
}

function settingsSection(rows) {
  const set = (checked) => (event) => {
    for (const { control } of rows) if (!control.disabled) control.checked = checked;
    // Setting a checkbox from a script fires no event, and the form shows what it would send.
    event.target.dispatchEvent(new Event('input', { bubbles: true }));
  };
  return h('fieldset', { class: 'carried', 'data-testid': 'carried' },
    h('legend', {}, 'Other settings'),
    h('p', { class: 'hint' }, 'This form has no fields for these settings of the other job. They are sent unchanged. Uncheck one to use the server’s default instead.'),
    h('div', { class: 'carried-rows' }, rows.map((row) => row.node)),
    h('div', { class: 'actions' },
      h('button', { type: 'button', class: 'small', onclick: set(false) }, 'Uncheck all'),
      h('button', { type: 'button', class: 'small', onclick: set(true) }, 'Check all')));
}

function settingRow(pointer, value, id) {
  const isLost = typeof value === 'number' && !isExact(value);
  const control = h('input', { type: 'checkbox', id, checked: !isLost, disabled: isLost, 'aria-describedby': `${id}-error` });
  const error = h('span', { class: 'error', id: `${id}-error`, 'data-testid': `error${pointer.replaceAll('/', '-')}` },
    isLost ? LOST : '');
  const name = pointer.slice(1).replaceAll('/', '.').replaceAll('~1', '/').replaceAll('~0', '~');
  const node = h('div', { class: 'carried-row', 'data-pointer': pointer },
    control, h('label', { for: id }, h('code', {}, name), ' ', h('bdi', {}, inWords(value))), error);
  return {
    pointer, control, node,
    wanted: () => control.checked,
    show: (sent) => { node.hidden = control.checked && getAt(sent, pointer) === undefined; },
    fault: (message) => {
      setText(error, message ?? (isLost ? LOST : ''));
      setAttribute(control, 'aria-invalid', message ? 'true' : null);
    },
  };
}

function inWords(value) {
  if (Array.isArray(value)) return value.join(', ');
  if (typeof value === 'object') return Object.entries(value).map(([name, each]) => `${name} ${inWords(each)}`).join(', ');
  return String(value);
}
