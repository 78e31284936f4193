// Widgets that several views share: status badges, problems, bars, lines to copy, drop zones, confirmations.

import { Problem } from './api.js';
import { announce, h, setText } from './dom.js';
import { words } from './format.js';

/** The state of a dataset or job as a coloured word; `set(status)` changes it. */
export function statusBadge(status) {
  const node = h('span', { 'data-testid': 'status' });
  const set = (next) => {
    node.className = `badge badge-${next}`;
    setText(node, words(next));
  };
  set(status);
  return { node, set };
}

/** A problem as text, with the fields that it names. An error that is not a server response is a bug in this page and is logged to the console. */
export function problemBox(problem) {
  if (!(problem instanceof Problem)) console.error(problem);
  const fields = problem.errors ?? [];
  return h('div', { class: 'box box-bad', role: 'alert', 'data-testid': 'problem' },
    h('p', { class: 'box-title' }, problem.title ?? 'Something went wrong'),
    h('p', {}, problem.message),
    fields.length > 0 && h('ul', {}, fields.map((error) =>
      h('li', {}, error.pointer ? h('code', {}, error.pointer) : null, ` ${error.message}`))),
    problem.requestId && h('p', { class: 'quiet' }, `Request ${problem.requestId}`));
}

/** The text shown for an empty list, and what to do about it. */
export function emptyState(text, ...more) {
  return h('div', { class: 'empty' }, h('p', {}, text), more);
}

/** A number with its label. */
export function tile(label, value, testId) {
  const number = h('dd', { 'data-testid': testId }, value);
  return { node: h('div', { class: 'tile' }, h('dt', {}, label), number), set: (text) => setText(number, text) };
}

/** A labelled horizontal bar; `share` is 0 to 1, `text` its value as text. */
export function bar(label, share, text, { strong = false } = {}) {
  const filling = h('span', { class: 'bar-filling' });
  filling.style.setProperty('--share', String(Math.min(1, Math.max(0, share))));
  return h('li', { class: strong ? 'bar bar-strong' : 'bar' },
    h('span', { class: 'bar-label', title: label }, h('bdi', {}, label)),
    h('span', { class: 'bar-track', 'aria-hidden': 'true' }, filling),
    h('span', { class: 'bar-value' }, text));
}

/** A command line with a button that copies it. */
export function copyLine(text, label = 'Copy') {
  const code = h('code', { tabindex: '0' }, text);
  const button = h('button', { type: 'button', class: 'small', onclick: () => copy(code, button, label) }, label);
  return {
    node: h('div', { class: 'copy-line' }, code, button),
    set: (next) => setText(code, next),
  };
}

async function copy(code, button, label) {
  try {
    await navigator.clipboard.writeText(code.textContent);
    setText(button, 'Copied');
    announce('Copied');
    setTimeout(() => setText(button, label), 1500);
  } catch {
    // The clipboard needs a secure context. Without one, select the text, so that one keystroke copies it.
    getSelection().selectAllChildren(code);
  }
}

/** A text as one word of a POSIX shell. */
export function shellWord(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

/**
 * A drop zone for files, with a button that opens the file chooser. `onFiles(files)` receives the files; `onRefused(reason)` is called
 * for folders, and for several files where only one is accepted.
 */
export function dropZone({ text, button, accept, multiple = false, testId, onFiles, onRefused }) {
  const input = h('input', {
    type: 'file', accept, multiple, hidden: true, 'data-testid': `${testId}-input`, 'aria-label': button,
    onchange: () => {
      if (input.files.length) onFiles([...input.files]);
      input.value = '';
    },
  });
  const zone = h('div', { class: 'drop', 'data-testid': `${testId}-drop` },
    h('p', {}, text),
    h('button', { type: 'button', onclick: () => input.click() }, button),
    input);
  const highlight = (on) => zone.classList.toggle('drop-over', on);
  zone.addEventListener('dragover', (event) => {
    event.preventDefault();
    highlight(true);
  });
  zone.addEventListener('dragleave', (event) => highlight(zone.contains(event.relatedTarget)));
  zone.addEventListener('drop', (event) => {
    event.preventDefault();
    highlight(false);
    const items = [...event.dataTransfer.items];
    const files = [...event.dataTransfer.files];
    if (items.some((item) => item.webkitGetAsEntry?.()?.isDirectory)) onRefused('folder');
    else if (files.length > 1 && !multiple) onRefused('several');
    else if (files.length) onFiles(files);
  });
  return zone;
}

/**
 * Asks before something that is not easily undone; resolves to whether it was confirmed. The focus is on the cancelling button, `keep`,
 * so that a stray Enter changes nothing. `details` is what to know before answering.
 */
export function confirmed(question, action, { details = null, keep = 'Keep it', danger = true } = {}) {
  return new Promise((resolve) => {
    const answer = (yes) => {
      dialog.close();
      dialog.remove();
      resolve(yes);
    };
    const dialog = h('dialog', { 'aria-label': question, oncancel: () => answer(false) },
      h('p', { class: details ? 'question' : null }, question),
      details,
      h('div', { class: 'actions' },
        h('button', { type: 'button', class: danger ? 'danger' : null, 'data-testid': 'confirm', onclick: () => answer(true) }, action),
        h('button', { type: 'button', autofocus: true, 'data-testid': 'keep', onclick: () => answer(false) }, keep)));
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** A heading that receives the focus when its view opens. */
export function heading(...content) {
  return h('h1', { tabindex: '-1' }, content);
}

/** A link of this page. */
export function link(route, ...content) {
  return h('a', { href: `#/${route.map(encodeURIComponent).join('/')}` }, content);
}
