// The upload in progress. It is independent of the views, so the user can navigate while a large archive is sent.

import { Problem, uploadDataset } from '../shared/api.js';
import { announce, fill, h, setText } from '../shared/dom.js';
import { formatBytes, formatRemaining, formatShare } from '../shared/format.js';
import { problemBox } from '../shared/widgets.js';

let current = null;

/** Whether an upload is in progress. */
export function isUploading() {
  return current !== null;
}

/** Hides the panel. */
export function dismissUpload() {
  document.getElementById('upload').hidden = true;
}

/**
 * Sends an archive and shows its progress; `name` may be null. Resolves to the dataset, or to null if it was cancelled; throws `Problem`.
 */
export async function uploadArchive(file, name) {
  const panel = uploadPanel(file, name, () => current?.abort());
  const place = document.getElementById('upload');
  fill(place, panel.node);
  place.hidden = false;
  announce(`Uploading ${file.name}`);
  const started = performance.now();
  current = uploadDataset(file, name, (sent, total) => panel.progress(sent, total, performance.now() - started));
  try {
    const dataset = await current.finished;
    announce('Upload finished');
    dismissUpload();
    return dataset;
  } catch (error) {
    if (error.name === 'AbortError') {
      announce('Upload cancelled');
      dismissUpload();
      return null;
    }
    announce(`Upload failed: ${error.message}`);
    fill(place, uploadFailed(file, error));
    throw error instanceof Problem ? error : new Problem(0, { detail: error.message });
  } finally {
    current = null;
  }
}

function uploadPanel(file, name, cancel) {
  const meter = h('progress', { max: file.size || 1, value: 0, 'aria-label': `Upload of ${file.name}` });
  const text = h('span', { 'data-testid': 'upload-progress' }, 'Starting');
  const node = h('div', { class: 'card upload' },
    h('div', { class: 'row' },
      h('strong', {}, file.name), h('span', { class: 'quiet' }, name ? `to dataset ${name}` : 'to a new dataset'), h('span', { class: 'grow' }),
      h('button', { type: 'button', class: 'small', 'data-testid': 'upload-cancel', onclick: cancel }, 'Cancel upload')),
    meter, h('p', { class: 'quiet' }, text));
  let quarter = 0;
  return {
    node,
    progress(sent, total, milliseconds) {
      meter.max = total || 1;
      meter.value = sent;
      if (sent >= total) {
        setText(text, `${formatBytes(total)} sent; the server is writing it to disk`);
        return;
      }
      const remaining = milliseconds > 500 ? (milliseconds / 1000 / sent) * (total - sent) : null;
      const parts = [formatShare(sent / total), `${formatBytes(sent)} of ${formatBytes(total)}`, formatRemaining(remaining)];
      setText(text, parts.filter(Boolean).join(' · '));
      if (Math.floor((sent / total) * 4) > quarter) {
        quarter += 1;
        announce(`${quarter * 25} percent sent`);
      }
    },
  };
}

function uploadFailed(file, problem) {
  return h('div', { class: 'card upload' },
    h('div', { class: 'row' }, h('strong', {}, file.name), h('span', { class: 'grow' }),
      h('button', { type: 'button', class: 'small', onclick: dismissUpload }, 'Dismiss')),
    problemBox(problem));
}

addEventListener('beforeunload', (event) => {
  if (current) event.preventDefault();
});
