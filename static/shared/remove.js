// A button that deletes an object on the server after a confirmation, and shows the error if it cannot.

import { call, path } from './api.js';
import { announce, fill, h } from './dom.js';
import { confirmed, problemBox } from './widgets.js';
import { goTo } from '../router.js';

/** Shows the list of `kind` once `id` is deleted. */
export function deleteButton(kind, id, question) {
  const problem = h('div', {});
  const button = h('button', { type: 'button', class: 'quiet-button', 'data-testid': 'delete' }, 'Delete');
  button.addEventListener('click', async () => {
    if (!await confirmed(question, 'Delete')) return;
    button.disabled = true;
    fill(problem);
    try {
      await call('DELETE', path(kind, id));
      announce('Deleted');
      goTo([kind]);
    } catch (refusal) {
      fill(problem, problemBox(refusal));
      button.disabled = false;
    }
  });
  return [button, problem];
}
