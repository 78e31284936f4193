// `#/keys`: the keys of this server, for whoever may manage them: listing, making and revoking them.

import { call, path, withQuery } from '../shared/api.js';
import { announce, fill, h } from '../shared/dom.js';
import { formatAgo, formatTime } from '../shared/format.js';
import { confirmed, copyLine, emptyState, heading, problemBox } from '../shared/widgets.js';

const PAGE = 100;
const SCOPES = [
  ['read', 'Read: see datasets, jobs and models'],
  ['predict', 'Predict: ask models'],
  ['write', 'Write: upload, train and delete; with read and predict'],
  ['admin', 'Admin: everything, keys too'],
];
const LIVES = [['', 'Never'], ['7', 'After a week'], ['30', 'After 30 days'], ['365', 'After a year']];
const DAY = 86_400_000;

export function keysView(outlet) {
  const leaving = new AbortController();
  const { signal } = leaving;
  const rows = h('ul', { class: 'list', 'data-testid': 'keys' });
  const state = h('div', {}, h('p', { class: 'quiet' }, 'Loading …'));
  const made = h('div', {});
  const show = async () => {
    try {
      const keys = await allKeys(signal);
      fill(rows, keys.map((key) => row(key, revoke)));
      fill(state, keys.length === 0 && emptyState('No keys yet. Without one, only this machine can use the server; from the first key on, every request needs one.'));
    } catch (problem) {
      if (!signal.aborted) fill(state, problemBox(problem));
    }
  };
  const revoke = async (key) => {
    const question = `Revoke the key ${key.name}? Whoever uses it is refused from then on. This cannot be undone.`;
    if (!await confirmed(question, 'Revoke the key')) return;
    await call('DELETE', path('keys', key.id)).then(() => announce(`The key ${key.name} was revoked`), (problem) => fill(made, problemBox(problem)));
    await show();
  };
  const onMade = async (key) => {
    fill(made, secretCard(key));
    announce(`The key ${key.name} was made`);
    await show();
  };
  fill(outlet, heading('Keys'),
    h('p', { class: 'lead' }, 'Programs send a key with every request; people log in with theirs.'),
    made, makeForm(onMade), state, rows);
  show();
  return () => leaving.abort();
}

/** Those that are revoked, too. */
async function allKeys(signal) {
  const keys = [];
  let page;
  do {
    page = await call('GET', withQuery(path('keys'), { limit: PAGE, after: keys.at(-1)?.id }), { signal });
    keys.push(...page.data);
  } while (page.has_more && page.data.length > 0);
  return keys;
}

function makeForm(onMade) {
  const problem = h('div', {});
  const name = h('input', { required: true, maxlength: '128', autocomplete: 'off', placeholder: 'camera-7', 'data-testid': 'key-name' });
  const boxes = SCOPES.map(([scope]) => h('input', { type: 'checkbox', name: scope, 'data-testid': `scope-${scope}` }));
  const names = (testId) => h('input', { autocomplete: 'off', placeholder: 'all', 'data-testid': testId });
  const [datasets, models] = [names('key-datasets'), names('key-models')];
  const life = h('select', { 'data-testid': 'key-life' }, LIVES.map(([value, label]) => h('option', { value }, label)));
  const button = h('button', { class: 'primary', 'data-testid': 'make-key' }, 'Make a key');
  const form = h('form', { class: 'card', 'data-testid': 'key-form' },
    h('label', { class: 'field' }, 'Whose key it is', name),
    h('fieldset', { class: 'carried' }, h('legend', {}, 'What it may do'),
      SCOPES.map(([, label], place) => h('label', {}, boxes[place], ' ', label))),
    h('label', { class: 'field' }, 'Only these datasets', datasets),
    h('label', { class: 'field' }, 'Only these models', models),
    h('label', { class: 'field' }, 'Expires', life),
    h('div', { class: 'actions' }, button), problem);
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    button.disabled = true;
    fill(problem);
    const json = {
      name: name.value.trim(),
      scopes: boxes.filter((box) => box.checked).map((box) => box.name),
      datasets: listed(datasets.value),
      models: listed(models.value),
      expires_at: life.value ? new Date(Date.now() + Number(life.value) * DAY).toISOString() : null,
    };
    try {
      const key = await call('POST', path('keys'), { json });
      form.reset();
      await onMade(key);
    } catch (refusal) {
      fill(problem, problemBox(refusal));
    }
    button.disabled = false;
  });
  return form;
}

/** Names between commas; null for none, which means all. */
function listed(text) {
  const names = text.split(',').map((name) => name.trim()).filter(Boolean);
  return names.length > 0 ? names : null;
}

/** The key itself, which the server cannot show again. */
function secretCard(key) {
  return h('section', { class: 'card', 'data-testid': 'made-key' }, h('h2', {}, `The key of ${key.name}`),
    h('p', {}, 'Copy it now: it is shown only this once.'),
    copyLine(key.secret).node);
}

function row(key, revoke) {
  const limits = [['datasets', key.datasets], ['models', key.models]].filter(([, names]) => names !== null)
    .map(([kind, names]) => `only the ${kind} ${names.join(', ')}`);
  const over = key.revoked_at || (key.expires_at && Date.parse(key.expires_at) <= Date.now());
  const ends = key.revoked_at ? `revoked ${formatAgo(key.revoked_at)}`
    : key.expires_at ? `${over ? 'expired' : 'expires'} ${formatTime(key.expires_at)}` : null;
  const used = key.last_used_at ? `used ${formatAgo(key.last_used_at)}` : 'never used';
  return h('li', { class: 'row', 'data-key': key.name },
    h('strong', {}, h('bdi', {}, key.name)),
    key.scopes.map((scope) => h('span', { class: 'badge badge-plain' }, scope)),
    h('span', { class: 'quiet' }, [...limits, used, ends].filter(Boolean).join(' · ')),
    !key.revoked_at && h('button', { type: 'button', class: 'quiet-button', 'data-testid': 'revoke', onclick: () => revoke(key) }, 'Revoke …'));
}
