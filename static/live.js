// A job's event stream. The browser reconnects by itself with `Last-Event-ID`; what it gives up on (an answer that is no stream)
// is tried again here, going on after the last event seen. Nothing is delivered twice.
//
// A hidden page lets go of its stream and catches up later: a browser has six connections to a server for all its tabs together.

import { path, withQuery } from './api.js';

const KINDS = ['status', 'step', 'epoch', 'progress', 'checkpoint', 'log', 'warning', 'rewind', 'end'];
const LONGEST_PAUSE = 30;

/**
 * Follows a job until its `end` event or `close()`.
 * `onEvent(kind, data)` gets every event once, in order; `onConnection('live' | 'waiting' | 'ended')` tells how it goes.
 */
export function followJob(jobId, { onEvent, onConnection }) {
  const lifetime = new AbortController();
  let source = null;
  let last = 0;
  let pause = 1;
  let timer = 0;
  let ended = false;

  function open() {
    clearTimeout(timer);
    if (source || ended || lifetime.signal.aborted || document.hidden) return;
    source = new EventSource(withQuery(path('jobs', jobId, 'events'), { after: last || undefined }));
    source.onopen = () => {
      pause = 1;
      onConnection('live');
    };
    source.onerror = () => {
      onConnection('waiting');
      if (source?.readyState === EventSource.CLOSED) openLater();
    };
    for (const kind of KINDS) source.addEventListener(kind, (message) => take(kind, message));
  }

  function openLater() {
    letGo();
    timer = setTimeout(open, pause * 1000);
    pause = Math.min(LONGEST_PAUSE, pause * 2);
  }

  function take(kind, message) {
    const seq = Number(message.lastEventId);
    if (seq <= last) return;
    last = seq;
    onEvent(kind, JSON.parse(message.data));
    if (kind !== 'end') return;
    ended = true;
    letGo();
    onConnection('ended');
  }

  function letGo() {
    source?.close();
    source = null;
  }

  document.addEventListener('visibilitychange', () => (document.hidden ? letGo() : open()), {
    signal: lifetime.signal,
  });
  open();
  return {
    close: () => {
      lifetime.abort();
      clearTimeout(timer);
      letGo();
    },
  };
}
