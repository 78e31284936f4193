// `#/datasets`: upload an archive, list the datasets.

import { call, list, path } from '../shared/api.js';
import { fill, h, keyedList, setAttribute, setText } from '../shared/dom.js';
import { formatAgo, formatBytes, formatTime, plural } from '../shared/format.js';
import { copyLine, dropZone, emptyState, heading, link, problemBox, statusBadge } from '../shared/widgets.js';
import { poll } from '../shared/poll.js';
import { currentRoute, goTo } from '../router.js';
import { dismissUpload, isUploading, uploadArchive } from './upload.js';

const EXAMPLE = `flowers.zip
├─ roses/   rose1.jpg  rose2.jpg …
└─ tulips/  tulip1.jpg …`;

export function datasetsView(outlet) {
  const place = h('div', {});
  const listing = datasetListing();
  const chooser = () => fill(place, archiveChooser((file) => fill(place, uploadForm(file, chooser, listing.refresh))));
  chooser();
  fill(outlet,
    heading('Datasets'),
    h('p', { class: 'lead' }, 'A dataset is an archive of images in folders: one folder for each class.'),
    place, listing.node);
  return listing.stop;
}

function archiveChooser(onFile) {
  const refusal = h('p', { class: 'error', role: 'alert' });
  const refused = {
    folder: 'That is a folder. Pack it first, for instance with: tar czf images.tar.gz FOLDER',
    several: 'One archive at a time, please.',
  };
  const zone = dropZone({
    text: 'Drop a zip or tar archive here, or',
    button: 'Choose an archive',
    accept: '.zip,.tar,.tgz,.gz,.bz2,.xz,.zst,application/zip,application/x-tar,application/gzip',
    testId: 'archive',
    onFiles: ([file]) => onFile(file),
    onRefused: (why) => setText(refusal, refused[why]),
  });
  const line = copyLine(`curl -T ARCHIVE.zip '${location.origin}${path('datasets')}?name=NAME'`);
  return [zone, refusal, h('details', {}, h('summary', {}, 'The same with curl'), line.node)];
}

function uploadForm(file, onClose, onUploaded) {
  const error = h('p', { class: 'error', id: 'upload-name-error', role: 'alert' });
  const suggested = nameFromFile(file.name);
  const name = h('input', {
    id: 'upload-name', name: 'name', required: true, maxlength: 128, autocomplete: 'off', spellcheck: 'false',
    'aria-describedby': 'upload-name-error upload-name-hint', value: suggested,
  });
  const form = h('form', { class: 'card', novalidate: true, 'data-testid': 'upload-form' },
    h('p', {}, h('strong', {}, file.name), ` · ${formatBytes(file.size)}`),
    h('label', { class: 'field', for: 'upload-name' }, 'Name of the dataset', name),
    h('p', { class: 'quiet', id: 'upload-name-hint' }, 'Letters, digits, dot, dash and underscore.'), error,
    h('div', { class: 'actions' },
      h('button', { class: 'primary', 'data-testid': 'upload-start' }, 'Upload'),
      h('button', { type: 'button', onclick: onClose }, 'Choose another')));
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    form.inert = true;
    // A suggestion that nobody changed is not a choice: where it is taken, the server finds another name.
    const chosen = name.value.trim() === suggested ? null : name.value.trim();
    const refusal = await send(file, chosen, onClose, onUploaded);
    form.inert = false;
    setText(error, refusal ?? '');
    setAttribute(name, 'aria-invalid', refusal ? 'true' : null);
    if (refusal) name.focus();
  });
  queueMicrotask(() => name.select());
  return form;
}

/** Uploads, then shows the dataset. Resolves to what is wrong with the form, or to null. */
async function send(file, name, onClose, onUploaded) {
  if (isUploading()) return 'Another upload is in progress; wait for it or cancel it.';
  const oversize = await tooLarge(file);
  if (oversize) return oversize;
  try {
    const dataset = await uploadArchive(file, name);
    const stillHere = currentRoute().section === 'datasets' && !currentRoute().id;
    if (dataset && stillHere) goTo(['datasets', dataset.id]);
    else onClose();
    onUploaded();
    return null;
  } catch (problem) {
    // The upload panel shows the full error, whatever view is open by now. An error about the name belongs beside its field.
    const aboutName = problem.errors.find((fault) => fault.pointer.endsWith('name'));
    if (!aboutName && problem.slug !== 'name-taken') return 'It was not uploaded.';
    dismissUpload();
    return aboutName?.message ?? problem.message;
  }
}

/** Refuses early what the server would refuse after gigabytes. If its limit is not known, the server decides. */
async function tooLarge(file) {
  const system = await call('GET', path('system')).catch(() => null);
  const most = system?.limits?.max_archive_bytes;
  if (!most || file.size <= most) return null;
  return `The archive has ${formatBytes(file.size)}; this server accepts up to ${formatBytes(most)} (--max-archive-bytes).`;
}

/** `My Flowers (2).tar.gz` becomes `My-Flowers-2`. */
function nameFromFile(fileName) {
  const stem = fileName.replace(/\.(zip|tar|tgz|gz|bz2|xz|zst)$/i, '').replace(/\.tar$/i, '');
  return stem.replace(/[^A-Za-z0-9._-]+/g, '-').replace(/^[-._]+|[-._]+$/g, '').slice(0, 128) || 'dataset';
}

function datasetListing() {
  const rows = h('ul', { class: 'list', 'data-testid': 'datasets' });
  const state = h('div', {}, h('p', { class: 'quiet' }, 'Loading …'));
  const more = h('button', { type: 'button', hidden: true }, 'Show more');
  const update = keyedList(rows, datasetRow);
  let wanted = 20;
  const refreshing = poll(5, async (signal) => {
    let page;
    try {
      page = await list('datasets', { wanted, signal });
    } catch (problem) {
      if (!signal.aborted && !rows.childElementCount) fill(state, problemBox(problem));
      throw problem;
    }
    update(page.data);
    more.hidden = !page.has_more;
    fill(state, page.data.length === 0 && emptyState('No datasets yet. An archive can look like this:', h('pre', {}, EXAMPLE),
      h('p', {}, 'Folders named train, val and test may stand above the class folders.')));
    return page.data.some((dataset) => dataset.status === 'processing') ? 1.5 : 10;
  });
  more.addEventListener('click', () => {
    wanted += 20;
    refreshing.now();
  });
  return {
    node: h('section', { 'aria-label': 'All datasets' }, state, rows, more),
    refresh: refreshing.now,
    stop: refreshing.stop,
  };
}

function datasetRow(dataset) {
  const badge = statusBadge(dataset.status);
  const facts = h('span', { class: 'quiet' });
  const when = h('span', { class: 'quiet when', title: formatTime(dataset.created_at) });
  const node = h('li', { class: 'list-row', 'data-id': dataset.id },
    link(['datasets', dataset.id], h('strong', {}, dataset.name)), badge.node, facts, when);
  return {
    node,
    update(next) {
      badge.set(next.status);
      setText(facts, datasetFacts(next));
      setText(when, formatAgo(next.created_at));
    },
  };
}

function datasetFacts(dataset) {
  if (dataset.status === 'failed') return dataset.error?.message ?? 'It cannot be used.';
  if (dataset.status === 'processing') return `${formatBytes(dataset.bytes)}, being read`;
  const classes = dataset.classes.length ? plural(dataset.classes.length, 'class', 'classes') : 'no classes';
  const warnings = dataset.report?.warnings.length ?? 0;
  return [plural(dataset.images, 'image'), classes, warnings ? plural(warnings, 'warning') : null].filter(Boolean).join(' · ');
}
