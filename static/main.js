// Entry of the page: the session, routes, the server's state in the header, and what all views share.

import { call, path } from './shared/api.js';
import { h, fill } from './shared/dom.js';
import { plural } from './shared/format.js';
import { poll } from './shared/poll.js';
import { startRouter } from './router.js';
import { logOutButton, session, showLogin } from './session/session.js';
import { datasetsView } from './datasets/datasets.js';
import { datasetView } from './datasets/dataset.js';
import { jobsView } from './jobs/jobs.js';
import { jobFormView } from './jobs/form.js';
import { jobView } from './jobs/job.js';
import { modelsView } from './models/models.js';
import { modelView } from './models/model.js';
import { keysView } from './keys/keys.js';

function choose({ section, id }) {
  if (section === 'datasets') return id ? datasetView : datasetsView;
  if (section === 'jobs') return id === 'new' ? jobFormView : id ? jobView : jobsView;
  if (section === 'models') return id ? modelView : modelsView;
  if (section === 'keys') return keysView;
  return null;
}

function showSystem(system) {
  const devices = system.devices.map((device) => `${device.name}: ${device.job ? 'busy' : 'free'}`);
  const waiting = system.queued_jobs > 0 ? `${plural(system.queued_jobs, 'job')} waiting` : null;
  const details = system.devices.map((device) => `${device.name}: ${device.description}, ${plural(device.threads, 'thread')}`);
  const node = document.getElementById('system');
  fill(node, h('span', { title: [`finetuned ${system.version}`, ...details].join('\n') },
    [...devices, waiting].filter(Boolean).join(' · ') || 'no device'));
}

function showConnection(reachable) {
  const notice = document.getElementById('connection');
  notice.textContent = reachable ? '' : 'The server cannot be reached. Retrying …';
  notice.hidden = reachable;
}

async function refreshSystem(signal) {
  try {
    showSystem(await call('GET', path('system'), { signal }));
    showConnection(true);
  } catch (error) {
    if (!signal.aborted) showConnection(error.status !== 0);
    throw error;
  }
}

// A file that misses its drop zone must not replace the page.
for (const kind of ['dragover', 'drop']) addEventListener(kind, (event) => event.preventDefault());

const main = document.getElementById('main');
document.getElementById('skip').addEventListener('click', () => main.focus());

/** A server that cannot be asked now is asked by the views, which say so. */
const { needs_key: needsKey, key } = await session().catch(() => ({ needs_key: false, key: null }));
if (needsKey && !key) {
  document.querySelector('nav').hidden = true;
  showLogin(main);
} else {
  // Without any key everybody who reaches the server may make the first one.
  document.getElementById('keys-link').hidden = Boolean(key) && !key.scopes.includes('admin');
  if (key) document.getElementById('system').after(logOutButton(key));
  startRouter(main, 'datasets', choose);
  poll(5, refreshSystem);
}
