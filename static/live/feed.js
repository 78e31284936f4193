// One job's events for all its listeners. A listener first reads the events that it has missed, page by page, and then gets the shared ones:
// from one event stream or, if no more streams may be opened, by polling. There are no gaps: events that arrive while a listener is still
// catching up are held for it.

import { call, path, withQuery } from '../shared/api.js';

const KINDS = ['status', 'step', 'epoch', 'progress', 'checkpoint', 'log', 'warning', 'rewind', 'end'];
const PAGE = 1000;
/** Seconds between two polls, and the longest pause after failures. */
const QUESTION = 1;
const LONGEST_PAUSE = 30;

export class Feed {
  #target;
  #streams;
  #listeners = new Map();
  #lifetime = new AbortController();
  /** The last event sent to all listeners. */
  #last = 0;
  #state = null;
  #pause = 1;
  #ended = false;
  #works = false;

  /** `streams.free` is how many more streams may be open, here and in other feeds. */
  constructor(job, streams) {
    this.#target = path('jobs', job, 'events');
    this.#streams = streams;
  }

  get isEmpty() {
    return this.#listeners.size === 0;
  }

  /** `send` gets `{events}` after the event `after`, and `{state}` when that changes. */
  join(id, after, send) {
    const listener = { send, last: after, held: [], isReading: true, isAtEnd: false, lifetime: new AbortController() };
    this.#listeners.set(id, listener);
    this.#catchUp(listener);
  }

  leave(id) {
    this.#listeners.get(id).lifetime.abort();
    this.#listeners.delete(id);
    if (this.isEmpty) this.#lifetime.abort();
  }

  async #catchUp(listener) {
    const { signal } = listener.lifetime;
    let pause = 1;
    while (listener.isReading) {
      try {
        const page = await this.#read(listener.last, signal);
        give(listener, page.data);
        listener.isReading = page.has_more;
        pause = 1;
      } catch {
        if (signal.aborted) return;
        listener.send({ state: 'waiting' });
        await sleep(pause, signal);
        pause = Math.min(LONGEST_PAUSE, pause * 2);
      }
      if (signal.aborted) return;
    }
    give(listener, listener.held);
    listener.held = [];
    if (listener.isAtEnd) return;
    if (this.#state) listener.send({ state: this.#state });
    // Start here: events that other listeners still have to read come earlier, or are held for them.
    if (!this.#works) this.#work(listener.last);
  }

  #read(after, signal) {
    return call('GET', withQuery(this.#target, { after: after || undefined, limit: PAGE }), { signal });
  }

  /** Delivers new events until the job ends or there are no listeners. */
  async #work(last) {
    this.#works = true;
    this.#last = last;
    const { signal } = this.#lifetime;
    while (!this.#ended && !signal.aborted) {
      try {
        if (this.#streams.free > 0 && globalThis.EventSource) await this.#stream(signal);
        else await this.#ask(signal);
      } catch {
        if (signal.aborted) return;
        this.#tell('waiting');
        await sleep(this.#pause, signal);
        this.#pause = Math.min(LONGEST_PAUSE, this.#pause * 2);
      }
    }
  }

  async #ask(signal) {
    const page = await this.#read(this.#last, signal);
    this.#take(page.data);
    this.#goesWell();
    if (!page.has_more && !this.#ended) await sleep(QUESTION, signal);
  }

  /**
   * Resolves when the job has ended or on abort. The browser reconnects by itself with `Last-Event-ID`; when it gives up (a response that
   * is not an event stream), that is an error here, and the stream is retried after the last event.
   */
  async #stream(signal) {
    this.#streams.free -= 1;
    const source = new EventSource(withQuery(this.#target, { after: this.#last || undefined }));
    try {
      await new Promise((resolve, reject) => {
        signal.addEventListener('abort', resolve, { once: true });
        source.onopen = () => this.#goesWell();
        source.onerror = () => {
          this.#tell('waiting');
          if (source.readyState === EventSource.CLOSED) reject(new Error('the stream was refused'));
        };
        const take = ({ type: kind, lastEventId, data }) => {
          this.#take([{ seq: Number(lastEventId), kind, data: JSON.parse(data) }]);
          if (this.#ended) resolve();
        };
        for (const kind of KINDS) source.addEventListener(kind, take);
      });
    } finally {
      source.close();
      this.#streams.free += 1;
    }
  }

  #take(events) {
    const fresh = events.filter(({ seq }) => seq > this.#last);
    if (fresh.length === 0) return;
    this.#last = fresh.at(-1).seq;
    this.#ended = fresh.some(({ kind }) => kind === 'end');
    for (const listener of this.#listeners.values()) {
      if (listener.isReading) listener.held.push(...fresh);
      else give(listener, fresh);
    }
  }

  #goesWell() {
    this.#pause = 1;
    this.#tell('live');
  }

  #tell(state) {
    if (this.#state === state) return;
    this.#state = state;
    for (const listener of this.#listeners.values()) if (!listener.isReading) listener.send({ state });
  }
}

function give(listener, events) {
  const fresh = events.filter(({ seq }) => seq > listener.last).map(({ seq, kind, data }) => ({ seq, kind, data }));
  if (fresh.length === 0) return;
  listener.last = fresh.at(-1).seq;
  listener.isAtEnd = fresh.at(-1).kind === 'end';
  listener.send({ events: fresh });
}

function sleep(seconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal.addEventListener('abort', () => {
      clearTimeout(timer);
      resolve();
    }, { once: true });
  });
}
