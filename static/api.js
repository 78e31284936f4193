// The only module that speaks HTTP (the event stream is in live_feed.js): calls, lists, uploads, and the server's errors as `Problem`.

const ORDINARY_TIMEOUT = 30_000;

/** An answer of the server that says no (RFC 9457), or no answer at all (`status` 0). */
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

/** Path and query of a call: `path('datasets', id)` with every part escaped. */
export function path(...parts) {
  return `/v1/${parts.map(encodeURIComponent).join('/')}`;
}

export function withQuery(target, query) {
  const pairs = Object.entries(query).filter(([, value]) => value !== undefined && value !== null);
  return pairs.length ? `${target}?${new URLSearchParams(pairs)}` : target;
}

/**
 * One call. `json` or `body` is sent, and `headers` with it; the answer's JSON comes back, `null` for 204.
 * Throws `Problem`, or `AbortError` where the caller's `signal` ended it.
 */
export async function call(method, target, options = {}) {
  const response = await send(method, target, 'application/json', options);
  return readAnswer(response.status, await response.text().catch(() => ''));
}

/** A picture that the server draws from `json`, as a `Blob`. Throws as `call` does. */
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
  throw new Problem(status, answer && typeof answer === 'object' ? answer : {});
}

/** The newest `wanted` objects of a list, over as many pages as that takes: `{data, has_more}`. */
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
 * Sends a file as a dataset. `XMLHttpRequest`, because `fetch` does not tell how much of a body has been sent.
 * Returns `{finished, abort}`: `finished` gives the dataset, or throws `Problem`, or `AbortError` after `abort()`.
 */
export function uploadDataset(file, name, onProgress) {
  const request = new XMLHttpRequest();
  const finished = new Promise((resolve, reject) => {
    request.open('PUT', withQuery(path('datasets'), { name }));
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
    // A server that refuses a body early closes the connection while we still write, and then the browser hides its answer.
    request.onerror = () => reject(new Problem(0, {
      title: 'The connection was closed during the upload',
      detail: 'Either the server went away, or it refused the file before the end: it takes zip, tar and tar.gz archives up to its size limit.',
    }));
    request.send(file);
  });
  return { finished, abort: () => request.abort() };
}
