// The job form's look ahead: a sheet of what the form's augmentation makes of the dataset's images, drawn by the server.

import { draw, path } from './api.js';
import { fill, h } from './dom.js';
import { problemBox } from './parts.js';

const FIELDS = ['backbone', 'image', 'augment', 'seed'];

/** A button and the place for the sheet. `collect` gives the job's spec; `refuse` takes a problem whose fields are the form's. */
export function previewPart(collect, refuse) {
  const place = h('div', { 'data-testid': 'preview' });
  const button = h('button', { type: 'button', 'data-testid': 'preview-button', onclick: show }, 'Preview the images');
  async function show() {
    button.disabled = true;
    fill(place, h('p', { class: 'quiet', role: 'status' }, 'Drawing …'));
    const spec = collect();
    try {
      const json = Object.fromEntries(FIELDS.filter((name) => spec[name] !== undefined).map((name) => [name, spec[name]]));
      const url = URL.createObjectURL(await draw(path('datasets', spec.dataset, 'preview'), { json }));
      fill(place, h('figure', { class: 'preview' },
        h('img', { src: url, alt: 'Some images of the dataset, as they are and as training will see them', onload: () => URL.revokeObjectURL(url) }),
        h('figcaption', { class: 'hint' }, 'First column: as prediction sees them. The others: what the first epochs train on.')));
    } catch (problem) {
      fill(place);
      if (problem.errors?.length) refuse(problem);
      else fill(place, problemBox(problem));
    }
    button.disabled = false;
  }
  return { button, place };
}
