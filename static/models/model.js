// `#/models/ID`: drop images on a model to classify them, and see its evaluation.

import { aliasesCard } from './aliases.js';
import { call, get, path, withQuery } from '../shared/api.js';
import { announce, fill, h } from '../shared/dom.js';
import { evaluationCard } from './evaluation.js';
import { formatBytes, formatMilliseconds, formatNumber, formatShare, formatTime, plural } from '../shared/format.js';
import { bar, copyLine, dropZone, heading, link, problemBox, tile } from '../shared/widgets.js';
import { deleteButton } from '../shared/remove.js';

const TOP_K = 5;
const CLASSES_SHOWN = 60;
/** Older results are removed beyond this number. */
const MOST_RESULTS = 24;

export function modelView(outlet, { id }) {
  const lifetime = new AbortController();
  const body = h('div', { class: 'stack' }, h('p', { class: 'quiet' }, 'Loading …'));
  const title = heading('Model');
  const imageUrls = new Set();
  fill(outlet, h('p', { class: 'trail' }, link(['models'], 'Models')), title, body);
  get('models', id, { signal: lifetime.signal }).then((model) => {
    document.title = `${model.name} · finetuned`;
    fill(title, model.name, h('span', { class: 'quiet' }, `@${model.version}`));
    const measured = h('div', {});
    showEvaluation(model, measured, lifetime.signal);
    const isBackbone = model.card.head?.kind === 'none';
    fill(body, isBackbone ? withoutHead(model) : tryIt(model, imageUrls, lifetime.signal), metrics(model), measured, !isBackbone && classes(model), aliasesCard(model, lifetime.signal), facts(model), h('div', { class: 'actions' }, deletion(model)));
  }).catch((problem) => lifetime.signal.aborted || fill(body, problemBox(problem)));
  return () => {
    lifetime.abort();
    imageUrls.forEach((url) => URL.revokeObjectURL(url));
  };
}

/** The evaluation is loaded separately: it may be large, and the page is useful without it. */
async function showEvaluation(model, place, signal) {
  if (!model.card.metrics?.val_images) return;
  try {
    fill(place, evaluationCard(await call('GET', path('models', model.id, 'evaluation'), { signal })));
  } catch (problem) {
    if (!signal.aborted && problem.status !== 404) fill(place, problemBox(problem));
  }
}

/** What a backbone without a head is for. */
function withoutHead({ id, name, version, card }) {
  const target = `${location.origin}${path('models', `${name}@${version}`, 'embeddings').replace('%40', '@')}`;
  const about = card.pretraining;
  return h('section', { class: 'card', 'data-testid': 'without-head' }, h('h2', {}, 'A backbone without a head'),
    h('p', {}, 'It has no classes: it answers with feature vectors, and trainings begin with it.'),
    about && h('p', {}, `Trained without labels (${about.spec.method}) on ${plural(about.images, 'image')}, ${plural(about.epochs, 'epoch')}. `,
      about.knn_accuracy != null && `Of the validation images ${formatShare(about.knn_accuracy)} have the class of their nearest neighbours. `,
      `Spread of the features: ${formatShare(about.feature_spread)}.`),
    h('p', {}, h('a', { class: 'button', href: `#/jobs/new?${new URLSearchParams({ weights: id, architecture: card.architecture })}` }, 'Train a head on it')),
    copyLine(`curl -T IMAGE.jpg '${target}'`).node);
}

function tryIt(model, imageUrls, signal) {
  const results = h('ul', { class: 'results', 'data-testid': 'results' });
  // One at a time: the server is fastest with a single image, and the results stay in order.
  let turn = Promise.resolve();
  const zone = dropZone({
    text: 'Drop one or more images here, or',
    button: 'Choose images',
    accept: 'image/*',
    multiple: true,
    testId: 'image',
    onFiles: (files) => {
      for (const file of files) turn = turn.then(() => signal.aborted || predict(model, file, results, imageUrls, signal));
    },
    onRefused: () => announce('Folders are not accepted; choose the images in it.'),
  });
  const line = copyLine(`curl -T IMAGE.jpg '${location.origin}${path('models', `${model.name}@${model.version}`, 'predict').replace('%40', '@')}?top_k=${TOP_K}'`);
  return h('section', { class: 'card' }, h('h2', {}, 'Try it'), zone, results, line.node);
}

async function predict(model, file, results, imageUrls, signal) {
  const url = URL.createObjectURL(file);
  imageUrls.add(url);
  const answer = h('div', { class: 'answer' }, h('p', { class: 'quiet' }, 'Classifying …'));
  const image = h('img', { src: url, alt: '', onerror: () => { image.hidden = true; } });
  results.prepend(h('li', { class: 'result', 'data-testid': 'result' }, image, answer));
  while (results.childElementCount > MOST_RESULTS) results.lastElementChild.remove();
  try {
    const target = withQuery(path('models', model.id, 'predict'), { top_k: TOP_K });
    const started = performance.now();
    const prediction = await call('PUT', target, { body: file, signal, timeout: 60_000 });
    fill(answer, predictionBars(file, prediction, performance.now() - started));
    const shown = prediction.predictions.filter(({ predicted }, i) => predicted ?? i === 0);
    const said = shown.map(({ label, probability }) => `${label}, ${formatShare(probability)}`);
    announce(`${file.name}: ${said.join('; ') || 'none of the classes'}`);
  } catch (problem) {
    if (signal.aborted) return;
    fill(answer, h('p', {}, h('strong', {}, file.name)), problemBox(problem));
  }
}

function predictionBars(file, { predictions, timing_ms: timing }, roundTrip) {
  const times = Object.entries(timing ?? {}).map(([name, value]) => `${name} ${formatMilliseconds(value)}`);
  return [
    h('p', { class: 'file-name' }, h('strong', {}, file.name)),
    h('ol', { class: 'bars', 'data-testid': 'predictions' }, predictions.map(({ label, probability, predicted }, i) =>
      bar(label, probability, formatShare(probability), { strong: predicted ?? i === 0 }))),
    h('p', { class: 'quiet', 'data-testid': 'timing' }, [...times, `${formatMilliseconds(roundTrip)} total`].join(' · ')),
  ];
}

function deletion({ id, name, version }) {
  return deleteButton('models', id, `Delete the model ${name}@${version}? Its weights are removed from the server.`);
}

function metrics({ card }) {
  // The accuracy of imported weights is unknown.
  const { metrics: reached } = card;
  const known = typeof reached?.val_accuracy === 'number';
  return h('dl', { class: 'tiles' }, [
    typeof reached?.val_map === 'number' && tile('Validation mAP', formatNumber(reached.val_map), 'val-map'),
    reached && tile(known ? 'Validation accuracy' : 'Training accuracy', formatShare(known ? reached.val_accuracy : reached.train_accuracy)),
    tile('Architecture', card.architecture),
    tile('Image size', `${card.preprocessing.crop} px`),
    reached && tile('Trained on', plural(reached.train_images, 'image')),
  ].filter(Boolean).map((each) => each.node));
}

function classes({ card }) {
  const rest = card.classes.length - CLASSES_SHOWN;
  return h('section', { class: 'card' }, h('h2', {}, plural(card.classes.length, 'class', 'classes')),
    h('ul', { class: 'chips' }, card.classes.slice(0, CLASSES_SHOWN).map((name) => h('li', {}, h('bdi', {}, name))),
      rest > 0 && h('li', {}, `and ${rest} more`)));
}

function beside({ adapt, parameters, base_bytes: bytes }) {
  const name = adapt ? adapterName(adapt) : 'only the head';
  return `${name}, ${formatNumber(parameters)} trained parameters beside ${formatBytes(bytes)} that models share`;
}

function adapterName(adapt) {
  return adapt.lora ? `LoRA of rank ${adapt.lora.rank}` : { norm_only: 'normalisations', bias_only: 'biases' }[adapt];
}

function facts(model) {
  const { card, imported_from: file } = model;
  const dataset = card.dataset && `${card.dataset.name}, version ${card.dataset.version}`;
  const made = model.job
    ? h('span', {}, formatTime(model.created_at), ' by ', link(['jobs', model.job], 'its job'))
    : h('span', {}, formatTime(model.created_at), ', imported', file.file_name && [' from ', h('bdi', {}, file.file_name)]);
  const pairs = [
    ['Id', h('code', {}, model.id)],
    ['Created', made],
    model.owner && ['Owner', h('bdi', {}, model.owner.name)],
    dataset && ['Dataset', model.job ? link(['datasets', card.dataset.id], dataset) : dataset],
    ['Base weights', card.base_weights],
    card.adapter && ['Trained', beside(card.adapter)],
    ...Object.entries(model.metadata).map(([name, text]) => [name, h('bdi', {}, text)]),
    ['Weights', `${formatBytes(model.bytes)}, SHA-256 ${model.sha256}`],
  ];
  return h('dl', { class: 'facts quiet' }, pairs.filter(Boolean).map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, value))));
}
