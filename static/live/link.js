// Connects a page to the hub (hub.js) that follows jobs for all windows of this browser. The hub runs in a shared worker; without
// shared workers, in one of the windows (elected.js); if that does not work either, in this page, which then polls instead of holding
// a connection.
//
// A page renews what it follows: a hub that has dropped it, or a new one, continues after the last event that the page has seen.

import { elected } from './elected.js';
import { Hub } from './hub.js';

const RENEWAL = 15_000;
/** A hub that has not answered this many renewals is abandoned. Elapsed time alone proves nothing: computers sleep. */
const MOST_UNANSWERED = 3;
const WAYS = [sharedWorker, elected, inThisPage];

const page = `${Date.now().toString(36)}-${Math.random().toString(36).slice(2)}`;
const followers = new Map();
let count = 0;
let carrier = null;
let way = 0;
let unanswered = 0;
let renewing = 0;

/** Follows a job after the event `seen()`. `receive` gets `{events, state}`. Returns the function that stops following. */
export function follow(job, seen, receive) {
  count += 1;
  const id = `${page}-${count}`;
  followers.set(id, { job, seen, receive });
  carrier ??= nextCarrier();
  if (followers.size === 1) {
    unanswered = 0;
    renewing = setInterval(renew, RENEWAL);
    carrier.start?.();
  }
  renewOne(id);
  return () => {
    followers.delete(id);
    carrier.post({ id, leave: true });
    if (followers.size > 0) return;
    clearInterval(renewing);
    carrier.stop?.();
  };
}

function renew() {
  unanswered += 1;
  if (unanswered > MOST_UNANSWERED) giveUp();
  else renewAll();
}

function renewAll() {
  for (const id of followers.keys()) renewOne(id);
}

function renewOne(id) {
  const { job, seen } = followers.get(id);
  carrier.post({ id, job, after: seen() });
}

function receive(answer) {
  if (!followers.has(answer.id)) return;
  unanswered = 0;
  followers.get(answer.id).receive(answer);
}

/** The first carrier that works in this browser, of those not yet abandoned. It calls `ready` when there is a new hub. */
function nextCarrier() {
  for (; way < WAYS.length - 1; way += 1) {
    try {
      const found = WAYS[way](receive, { ready: renewAll, failed: giveUp });
      if (found) return found;
    } catch {
      // A browser may support a way and forbid it.
    }
  }
  return inThisPage(receive);
}

function giveUp() {
  if (way === WAYS.length - 1) return;
  carrier?.stop?.();
  way += 1;
  unanswered = 0;
  carrier = nextCarrier();
  if (followers.size > 0) carrier.start?.();
  renewAll();
}

/** The name contains the version of the messages: after a server update an old window may still run the old worker. */
function sharedWorker(onAnswer, { failed }) {
  if (!globalThis.SharedWorker) return null;
  const worker = new SharedWorker(new URL('worker.js', import.meta.url), { type: 'module', name: 'finetuned-live-1' });
  worker.port.onmessage = ({ data }) => onAnswer(data);
  // When the script cannot be loaded.
  worker.onerror = failed;
  return {
    post: (message) => worker.port.postMessage(message),
  };
}

function inThisPage(onAnswer) {
  const hub = new Hub(0);
  return { post: (message) => hub.take(message, onAnswer) };
}
