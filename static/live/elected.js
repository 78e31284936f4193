// The hub in one of the windows, for browsers without shared workers. The window that holds the lock runs the hub; the others talk to it
// over a broadcast channel. The browser passes the lock on when a window is closed or crashes; a window that no longer follows anything,
// such as a hidden one, releases it.

import { ROOT } from '../shared/api.js';
import { Hub, MOST_STREAMS } from './hub.js';

/** With the path of this server: a proxy may serve several from one host. */
const NAME = `finetuned-live-1 ${ROOT}`;

/** A carrier for live_link.js; null where the browser has no locks (they need a secure context) or no channels. */
export function elected(onAnswer, { ready }) {
  if (!globalThis.BroadcastChannel || !navigator.locks) return null;
  const channel = new BroadcastChannel(NAME);
  let hub = null;
  let candidacy = null;

  channel.onmessage = ({ data: { question, answer, leader } }) => {
    if (question) hub?.take(question, (told) => channel.postMessage({ answer: told }));
    if (answer) onAnswer(answer);
    if (leader) ready();
  };

  /** Holds the lock until it is aborted. */
  function lead(signal) {
    return new Promise((resign) => {
      hub = new Hub(MOST_STREAMS);
      signal.addEventListener('abort', () => {
        hub.close();
        hub = null;
        resign();
      });
      channel.postMessage({ leader: true });
      ready();
    });
  }

  return {
    start() {
      candidacy = new AbortController();
      const { signal } = candidacy;
      navigator.locks.request(NAME, { signal }, () => lead(signal)).catch(() => {});
    },
    stop: () => candidacy?.abort(),
    post: (message) => (hub ? hub.take(message, onAnswer) : channel.postMessage({ question: message })),
  };
}
