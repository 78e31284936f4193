// The live events of a job, for one view. All windows of a browser share the event stream (link.js). Each view keeps its own position
// and delivers no event twice.
//
// A hidden page unsubscribes and catches up later.

import { follow } from './link.js';

/**
 * Follows a job until its `end` event or `close()`.
 * `onEvent(kind, data)` gets every event once, in order; `onConnection('live' | 'waiting' | 'ended')` reports the connection's state.
 */
export function followJob(jobId, { onEvent, onConnection }) {
  const lifetime = new AbortController();
  let leave = null;
  let last = 0;
  let ended = false;

  function attach() {
    if (leave || ended || lifetime.signal.aborted || document.hidden) return;
    leave = follow(jobId, () => last, receive);
  }

  function receive({ events = [], state }) {
    for (const { seq, kind, data } of events) {
      if (ended || seq <= last) continue;
      last = seq;
      onEvent(kind, data);
      ended = kind === 'end';
    }
    if (ended) {
      letGo();
      onConnection('ended');
    } else if (state) onConnection(state);
  }

  function letGo() {
    leave?.();
    leave = null;
  }

  document.addEventListener('visibilitychange', () => (document.hidden ? letGo() : attach()), {
    signal: lifetime.signal,
  });
  attach();
  return {
    close: () => {
      lifetime.abort();
      letGo();
    },
  };
}
