// Follows jobs for all windows of a browser, each job once: a browser has six connections to a server for all of its windows, and an event
// stream occupies one of them. Runs in a shared worker or in a page.
//
// Windows can disappear without notice, so following is a lease: a follower that does not renew it is dropped.

import { Feed } from './feed.js';

/** The other half of the six connections stays free for everything else; further jobs are polled. */
export const MOST_STREAMS = 3;
const LEASE = 75_000;
const SWEEP = 20_000;

export class Hub {
  #followers = new Map();
  #feeds = new Map();
  #streams;
  #sweeping;

  constructor(mostStreams) {
    this.#streams = { free: mostStreams };
    this.#sweeping = setInterval(() => this.#sweep(), SWEEP);
  }

  /**
   * `{id, job, after}` follows a job from its event `after` on, or renews that; `{id, leave: true}` ends it. `send` receives the answers:
   * `{id, events: [{seq, kind, data}], state}`; all fields except `id` are optional.
   */
  take({ id, job, after, leave }, send) {
    if (leave) {
      this.#drop(id);
      return;
    }
    const known = this.#followers.get(id);
    if (known) known.renewed = performance.now();
    else this.#follow(id, job, after, send);
    send({ id });
  }

  close() {
    clearInterval(this.#sweeping);
    for (const id of [...this.#followers.keys()]) this.#drop(id);
  }

  #follow(id, job, after, send) {
    if (!this.#feeds.has(job)) this.#feeds.set(job, new Feed(job, this.#streams));
    this.#followers.set(id, { job, renewed: performance.now() });
    this.#feeds.get(job).join(id, after, (answer) => send({ id, ...answer }));
  }

  #drop(id) {
    const follower = this.#followers.get(id);
    if (!follower) return;
    this.#followers.delete(id);
    const feed = this.#feeds.get(follower.job);
    feed.leave(id);
    if (feed.isEmpty) this.#feeds.delete(follower.job);
  }

  #sweep() {
    const oldest = performance.now() - LEASE;
    for (const [id, { renewed }] of [...this.#followers]) if (renewed < oldest) this.#drop(id);
  }
}
