// The aliases of a model: listing, creating, moving, rolling back and deleting them. Before an alias is moved, the user is shown what will
// change for its clients, and the move applies only to what was shown.

import { call, get, path, withQuery } from '../shared/api.js';
import { announce, fill, h } from '../shared/dom.js';
import { formatAgo } from '../shared/format.js';
import { confirmed, link, problemBox } from '../shared/widgets.js';
import { comparison, modelName } from './promotion.js';

const PAGE = 100;
/** The server loads and tries a model before an alias names it. */
const MOVE_TIMEOUT = 60_000;

/** A card for a model's page. */
export function aliasesCard(model, signal) {
  const rows = h('ul', { class: 'list', 'data-testid': 'aliases' });
  const problem = h('div', {});
  const known = h('datalist', { id: 'known-aliases' });
  const name = h('input', { id: 'alias', required: true, maxlength: '128', list: 'known-aliases', autocomplete: 'off', placeholder: 'production', 'data-testid': 'alias-name' });
  const button = h('button', { 'data-testid': 'promote' }, 'Promote …');
  const form = h('form', { class: 'actions' }, h('label', { for: 'alias' }, 'Alias'), name, known, button);

  const show = async () => {
    const aliases = await allAliases(signal);
    fill(known, aliases.map((alias) => h('option', { value: alias.name })));
    const own = aliases.filter((alias) => alias.model === model.id);
    fill(rows, own.length
      ? own.map((alias) => row(alias, { onRollback: () => act(() => rollBack(alias, model, signal)), onDelete: () => act(() => remove(alias)) }))
      : h('li', { class: 'row quiet' }, 'No alias names this model.'));
  };
  /** `action` returns what it did as text, or null if nothing was done. While the button is disabled, Enter does nothing either. */
  const act = async (action) => {
    button.disabled = true;
    fill(problem);
    try {
      const said = await action();
      if (said) announce(said);
    } catch (refusal) {
      if (!signal.aborted) fill(problem, problemBox(refusal));
    }
    button.disabled = false;
    await show().catch((refusal) => signal.aborted || fill(problem, problemBox(refusal)));
  };
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    act(async () => {
      const said = await promote(name.value.trim(), model, signal);
      if (said) name.value = '';
      return said;
    });
  });
  show().catch((refusal) => signal.aborted || fill(problem, problemBox(refusal)));
  return h('section', { class: 'card' }, h('h2', {}, 'Aliases'),
    h('p', { class: 'quiet' }, 'An alias works wherever a model name does. It is moved without downtime: each request is answered by the model that the alias names when the request arrives.'),
    rows, form, problem);
}

/** All aliases, over as many pages as needed. Requesting one that does not exist would log an error in the browser's console. */
async function allAliases(signal) {
  const aliases = [];
  let page;
  do {
    page = await call('GET', withQuery(path('aliases'), { limit: PAGE, after: aliases.at(-1)?.name }), { signal });
    aliases.push(...page.data);
  } while (page.has_more && page.data.length > 0);
  return aliases;
}

async function promote(name, model, signal) {
  const alias = (await allAliases(signal)).find((each) => each.name === name);
  if (alias?.model === model.id) return `${name} already names this model`;
  const before = alias ? await get('models', alias.model, { signal }) : null;
  const question = alias ? `Move ${name} from ${modelName(before)} to ${modelName(model)}?` : `Create the alias ${name} for ${modelName(model)}?`;
  const answer = { details: comparison(before, model), keep: 'Cancel', danger: false };
  if (!await confirmed(question, alias ? 'Move the alias' : 'Create the alias', answer) || signal.aborted) return null;
  const headers = alias ? seen(alias) : { 'if-none-match': '*' };
  await call('PUT', path('aliases', name), { json: { model: model.id }, headers, timeout: MOVE_TIMEOUT });
  return `${name} now names this model`;
}

async function rollBack(alias, model, signal) {
  const former = await get('models', formerModel(alias).model, { signal });
  const question = `Roll ${alias.name} back from ${modelName(model)} to ${modelName(former)}?`;
  const answer = { details: comparison(model, former), keep: 'Cancel', danger: false };
  if (!await confirmed(question, 'Roll back', answer) || signal.aborted) return null;
  await call('POST', path('aliases', alias.name, 'rollback'), { headers: seen(alias), timeout: MOVE_TIMEOUT });
  return `${alias.name} was rolled back`;
}

async function remove(alias) {
  const named = `${alias.model_name}@${alias.model_version}`;
  const question = `Delete the alias ${alias.name}? Requests that use it will fail, and its history is lost. The model ${named} is kept.`;
  if (!await confirmed(question, 'Delete')) return null;
  await call('DELETE', path('aliases', alias.name), { headers: seen(alias) });
  return `The alias ${alias.name} was deleted`;
}

/** A precondition, in case somebody else has moved the alias since it was shown. */
function seen({ revision }) {
  return { 'if-match': `"v${revision}"` };
}

function formerModel(alias) {
  return alias.history.find(({ model }) => model !== alias.model);
}

function row(alias, { onRollback, onDelete }) {
  const former = formerModel(alias);
  return h('li', { class: 'row', 'data-alias': alias.name },
    h('strong', {}, h('bdi', {}, alias.name)),
    h('span', { class: 'quiet' }, `moved ${formatAgo(alias.moved_at)}`),
    former && h('span', { class: 'quiet' }, 'previously ', link(['models', former.model], `${former.model_name}@${former.model_version}`)),
    former && h('button', { type: 'button', class: 'quiet-button', 'data-testid': 'rollback', onclick: onRollback }, 'Roll back …'),
    h('button', { type: 'button', class: 'quiet-button', 'data-testid': 'delete-alias', onclick: onDelete }, 'Delete'));
}
