// What a job reports besides its metrics: states, warnings, checkpoints, messages. The newest lines, oldest first.

import { h } from '../shared/dom.js';
import { formatBytes, formatCount, words } from '../shared/format.js';

const MOST_LINES = 300;

/** `{node, add(kind, data)}` */
export function jobLog() {
  const lines = h('ol', { class: 'log', 'data-testid': 'log', tabindex: '0', 'aria-label': 'Messages of the job' });
  const node = h('section', { class: 'card', hidden: true }, h('h2', {}, 'Messages'), lines);
  let waiting = [];

  /** A replay brings many lines at once; measuring the list for each of them would take seconds. */
  function flush() {
    node.hidden = false;
    const atEnd = lines.scrollHeight - lines.scrollTop - lines.clientHeight < 30;
    lines.append(...waiting);
    waiting = [];
    while (lines.childElementCount > MOST_LINES) lines.firstElementChild.remove();
    if (atEnd) lines.scrollTop = lines.scrollHeight;
  }

  return {
    node,
    add(kind, data) {
      const text = inWords(kind, data);
      if (!text) return;
      waiting.push(h('li', { class: `log-${kind}` }, text));
      if (waiting.length === 1) requestAnimationFrame(flush);
    },
  };
}

function inWords(kind, data) {
  switch (kind) {
    case 'status': return statusInWords(data);
    case 'warning': return `Warning: ${data.message}`;
    case 'log': return data.message;
    case 'checkpoint': return `Checkpoint after step ${formatCount(data.step)}, ${formatBytes(data.bytes)}`;
    case 'rewind': return `Resuming from step ${formatCount(data.to_step)}: later results are discarded`;
    case 'end': return data.error ? `${words(data.error.code)}: ${data.error.message}` : null;
    default: return null;
  }
}

function statusInWords({ status, attempt, device, reason }) {
  const parts = [device ? `${words(status)} on ${device}` : words(status), attempt > 1 && `attempt ${attempt}`, reason && words(reason).toLowerCase()];
  return parts.filter(Boolean).join(', ');
}
