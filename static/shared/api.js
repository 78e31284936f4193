// The only module that uses HTTP (the event stream is in live/feed.js): calls, lists, uploads, and the server's errors as `Problem`.

const ORDINARY_TIMEOUT = 30_000;
/** Where the server's paths begin, on this host: `/`, or what a proxy in front cuts off. A worker has the same, whatever its own address. */
export const ROOT = new URL('../../', import.meta.url).pathname;

const SIGNED_OUT = 'finetuned-signed-out';

/** Calls `action` when the server no longer knows who asks. */
export function onSignedOut(action) {
  addEventListener(SIGNED_OUT, action, { once: true });
}

/** An error response of the server (RFC 9457), or no response at all (`status` 0). */
export class Problem extends Error {
  constructor(status, body = {}) {
    super(body.detail || body.title || `The server answered ${status}.`);
    this.status = status;
    this.title = body.title || 'The request failed';
    this.slug = String(body.type || '').split(':').pop();
    this.requestId = body.request_id;
    /** `[{pointer, code, message}]` */
    this.errors = Array.isArray(body.errors) ? body.errors : [];
  }

  static unreachable() {
    return new Problem(0, { title: 'No connection', detail: 'The server cannot be reached.' });
  }
}

/** Path and query of a call: `path('datasets', id)` with every segment escaped. */
export function path(...segments) {
  return `${ROOT}v1/${segments.map(encodeURIComponent).join('/')}`;
}

export function withQuery(target, query) {
  const pairs = Object.entries(query).filter(([, value]) => value !== undefined && value !== null);
  return pairs.length ? `${target}?${new URLSearchParams(pairs)}` : target;
}

/**
 * One call. `json` or `body` is sent, with `headers`; returns the response's JSON, `null` for 204.
 * Throws `Problem`, or `AbortError` if the caller's `signal` aborted it.
 */
export async function call(method, target, options = {}) {
  const response = await send(method, target, 'application/json', options);
  return readAnswer(response.status, await response.text().catch(() => ''));
}

/** An image that the server generates from `json`, as a `Blob`. Throws as `call` does. */
export async function draw(target, options) {
  const response = await send('POST', target, 'image/png', { timeout: 3 * ORDINARY_TIMEOUT, ...options });
  if (response.ok) return response.blob().catch(() => { throw Problem.unreachable(); });
  return readAnswer(response.status, await response.text().catch(() => ''));
}

async function send(method, target, accept, { json, body, headers: more, signal, timeout = ORDINARY_TIMEOUT }) {
  const headers = { accept, ...more };
  if (json !== undefined) headers['content-type'] = 'application/json';
  else if (body !== undefined) headers['content-type'] = 'application/octet-stream';
  const limit = AbortSignal.timeout(timeout);
  try {
    return await fetch(target, {
      method,
      headers,
      body: json === undefined ? body : JSON.stringify(json),
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
      cache: 'no-store',
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw Problem.unreachable();
  }
}

function readAnswer(status, text) {
  let answer = null;
  try {
    answer = text ? JSON.parse(text) : null;
  } catch {
    answer = null;
  }
  if (status >= 200 && status < 300) return answer;
  if (status === 401) dispatchEvent(new Event(SIGNED_OUT));
  throw new Problem(status, answer && typeof answer === 'object' ? answer : {});
}

/** The newest `wanted` objects of a list, over as many pages as needed: `{data, has_more}`. */
export async function list(kind, { wanted = 20, signal } = {}) {
  const data = [];
  let more = true;
  while (more && data.length < wanted) {
    const limit = Math.min(100, wanted - data.length);
    const page = await call('GET', withQuery(path(kind), { limit, after: data.at(-1)?.id }), { signal });
    data.push(...page.data);
    more = page.has_more && page.data.length > 0;
  }
  return { data, has_more: more };
}

/** An object. */
export function get(kind, id, { signal } = {}) {
  return call('GET', path(kind, id), { signal });
}

/**
 * Sends a file as a dataset. Without a `name` the server makes one from the file's, and it is free. `XMLHttpRequest`, because `fetch` does not report upload progress.
 * Returns `{finished, abort}`: `finished` gives the dataset, or throws `Problem`, or `AbortError` after `abort()`.
 */
export function uploadDataset(file, name, onProgress) {
  const request = new XMLHttpRequest();
  const finished = new Promise((resolve, reject) => {
    request.open('PUT', withQuery(path('datasets'), name ? { name } : { filename: file.name }));
    request.setRequestHeader('accept', 'application/json');
    request.setRequestHeader('content-type', 'application/octet-stream');
    request.upload.onprogress = (event) => onProgress(event.loaded, event.total);
    request.onload = () => {
      try {
        resolve(readAnswer(request.status, request.responseText));
      } catch (problem) {
        reject(problem);
      }
    };
    request.onabort = () => reject(new DOMException('The upload was cancelled.', 'AbortError'));
    // A server that refuses a body early closes the connection while we are still sending, and then the browser hides its response.
    request.onerror = () => reject(new Problem(0, {
      title: 'The connection was closed during the upload',
      detail: 'Either the server became unreachable, or it refused the file early: it accepts zip and tar archives up to its size limit.',
    }));
    request.send(file);
  });
  return { finished, abort: () => request.abort() };
}
