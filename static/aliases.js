// The aliases of a model: which name it now, giving it one, and taking one back to the model that it named before.

import { call, path } from './api.js';
import { announce, fill, h } from './dom.js';
import { formatAgo } from './format.js';
import { link, problemBox } from './parts.js';

/** More aliases than these are for the API. */
const SHOWN = 100;

/** A card for a model's page. */
export function aliasesCard(model, signal) {
  const rows = h('ul', { class: 'list', 'data-testid': 'aliases' });
  const problem = h('div', {});
  const known = h('datalist', { id: 'known-aliases' });
  const name = h('input', { id: 'alias', required: true, maxlength: '128', list: 'known-aliases', autocomplete: 'off', placeholder: 'production', 'data-testid': 'alias-name' });
  const button = h('button', { 'data-testid': 'promote' }, 'Promote');
  const form = h('form', { class: 'actions' }, h('label', { for: 'alias' }, 'Alias'), name, known, button);

  const show = async () => {
    const { data } = await call('GET', `/v1/aliases?limit=${SHOWN}`, { signal });
    fill(known, data.map((alias) => h('option', { value: alias.name })));
    const own = data.filter((alias) => alias.model === model.id);
    fill(rows, own.length
      ? own.map((alias) => row(alias, () => act(() => rollBack(alias), `${alias.name} was taken back`)))
      : h('li', { class: 'row quiet' }, 'No alias names this model.'));
  };
  const act = async (action, said) => {
    button.disabled = true;
    fill(problem);
    try {
      await action();
      announce(said);
    } catch (refusal) {
      if (!signal.aborted) fill(problem, problemBox(refusal));
    }
    button.disabled = false;
    await show().catch((refusal) => signal.aborted || fill(problem, problemBox(refusal)));
  };
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    const alias = name.value.trim();
    act(async () => {
      await call('PUT', path('aliases', alias), { json: { model: model.id }, signal, timeout: 60_000 });
      name.value = '';
    }, `${alias} names this model`);
  });
  show().catch((refusal) => signal.aborted || fill(problem, problemBox(refusal)));
  return h('section', { class: 'card' }, h('h2', {}, 'Aliases'),
    h('p', { class: 'quiet' }, 'An alias works wherever a model does, and is moved without a gap: whoever asks it is answered by the model that it names at that moment.'),
    rows, form, problem);
}

/** Only what was seen is taken back: the alias may have been moved since. */
function rollBack({ name, revision }) {
  return call('POST', path('aliases', name, 'rollback'), { headers: { 'if-match': `"v${revision}"` }, timeout: 60_000 });
}

function row(alias, onRollback) {
  const former = alias.history.find(({ model }) => model !== alias.model);
  const back = former && h('button', { type: 'button', class: 'quiet-button', 'data-testid': 'rollback', onclick: onRollback }, 'Roll back');
  return h('li', { class: 'row', 'data-alias': alias.name },
    h('strong', {}, h('bdi', {}, alias.name)),
    h('span', { class: 'quiet' }, `moved ${formatAgo(alias.moved_at)}`),
    former && h('span', { class: 'quiet' }, 'before: ', link(['models', former.model], `${former.model_name}@${former.model_version}`)),
    back);
}
