// Logging in with a key, and out again. The key goes to the server once; what the browser keeps is a cookie that no script can read.

import { call, onSignedOut, path } from '../shared/api.js';
import { fill, h } from '../shared/dom.js';
import { heading, problemBox } from '../shared/widgets.js';

/** Who is logged in: `{needs_key, key}`. */
export function session() {
  return call('GET', path('session'));
}

/** Asks for a key; the page starts anew once one was accepted. */
export function showLogin(outlet) {
  const problem = h('div', {});
  const input = h('input', { type: 'password', required: true, autocomplete: 'current-password', spellcheck: 'false', placeholder: 'ft_…', 'data-testid': 'key' });
  const button = h('button', { class: 'primary', 'data-testid': 'log-in' }, 'Log in');
  const logIn = async (event) => {
    event.preventDefault();
    button.disabled = true;
    fill(problem);
    try {
      await call('POST', path('session'), { json: { key: input.value.trim() } });
      location.reload();
    } catch (refusal) {
      fill(problem, problemBox(refusal));
      button.disabled = false;
      input.select();
    }
  };
  fill(outlet, heading('Log in'),
    h('form', { class: 'card', onsubmit: logIn, 'data-testid': 'login' },
      h('p', { class: 'quiet' }, 'This server needs a key. Whoever runs it makes one with ', h('code', {}, 'finetuned keys create'), '.'),
      h('label', { class: 'field' }, 'Key', input),
      h('div', { class: 'actions' }, button),
      problem));
  document.title = 'Log in · finetuned';
  input.focus();
}

/** A button that logs out, for the head of the page. When the session ends by itself, the page starts anew, too. */
export function logOutButton(key) {
  onSignedOut(() => location.reload());
  const logOut = async () => {
    await call('DELETE', path('session')).catch(() => {});
    location.reload();
  };
  return h('button', { type: 'button', class: 'quiet-button small', title: `Logged in as ${key.name}`, onclick: logOut, 'data-testid': 'log-out' }, 'Log out');
}
