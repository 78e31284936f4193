// The hub in one of the windows, where the browser has no shared workers. Whoever gets the lock has the hub, the others talk to it by a
// broadcast channel. The lock goes on by itself when a window is closed or dies; one that follows nothing any more, as hidden ones do,
// gives it away.

import { Hub, MOST_STREAMS } from './live_hub.js';

const NAME = 'finetuned-live-1';

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
