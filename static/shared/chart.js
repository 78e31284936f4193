// A small line chart in SVG: axes with round numbers, a legend, a readout under the pointer, and a sentence for each line that describes it
// in text. Used by the job view; knows nothing about jobs.

import { fill, h, setText, svg } from './dom.js';

const HEIGHT = 240;
const WAITING = 'Waiting for the first values';
const MARGIN = { top: 12, right: 14, bottom: 34, left: 52 };

/** Round values inside `low..high`, about `wanted` of them, at steps of 1, 2 or 5 times a power of ten. */
export function ticks(low, high, wanted) {
  const raw = (high - low) / Math.max(1, wanted);
  if (!(raw > 0)) return [low];
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= raw * 0.999);
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

/** At most about `most` points: the lowest and the highest of each interval are kept, so that no spike is lost. */
export function thin(points, most) {
  if (points.length <= most) return points;
  const stretch = Math.ceil(points.length / (most / 2));
  const kept = [];
  for (let start = 0; start < points.length; start += stretch) {
    const chunk = points.slice(start, start + stretch);
    const low = chunk.reduce((a, b) => (b.y < a.y ? b : a));
    const high = chunk.reduce((a, b) => (b.y > a.y ? b : a));
    kept.push(...(low.x <= high.x ? [low, high] : [high, low]));
  }
  if (kept.at(-1) !== points.at(-1)) kept.push(points.at(-1));
  return kept;
}

export class LineChart {
  #lines;
  #options;
  #width = 600;
  #scheduled = false;
  #area = null;

  /**
   * `title`, `xLabel`, `formatX`, `formatY`; `range` fixes the y axis (`[0, 1]`), otherwise it follows the data.
   * `lines`: `[{key, label, tone: 1|2, marks: bool, describe(points) -> sentence}]`.
   */
  constructor(options) {
    this.#options = options;
    this.#lines = options.lines.map((line) => ({ ...line, points: [] }));
    this.image = svg('svg', { class: 'chart-image', role: 'img', height: HEIGHT, 'aria-label': options.title });
    this.readout = h('p', { class: 'chart-readout', 'aria-hidden': 'true' });
    this.summary = h('p', { class: 'chart-summary' });
    this.legend = h('ul', { class: 'legend', 'aria-label': 'Lines' }, this.#lines.map(legendEntry));
    this.node = h('figure', { class: 'chart', 'data-testid': options.testId },
      h('figcaption', {}, h('h3', {}, options.title), this.legend),
      this.image, this.readout, this.summary);
    this.image.addEventListener('pointermove', (event) => this.#point(event));
    this.image.addEventListener('pointerleave', () => this.#point(null));
    this.sizes = new ResizeObserver(([entry]) => {
      const width = Math.round(entry.contentRect.width);
      if (width > 0 && width !== this.#width) {
        this.#width = width;
        this.#schedule();
      }
    });
    this.sizes.observe(this.node);
    this.#schedule();
  }

  /** New points `[{x, y}]`, in ascending x, for lines by key. Non-finite values are left out. */
  set(pointsByKey) {
    for (const line of this.#lines) {
      if (pointsByKey[line.key]) line.points = pointsByKey[line.key].filter(({ y }) => Number.isFinite(y));
    }
    this.#schedule();
  }

  destroy() {
    this.sizes.disconnect();
  }

  #schedule() {
    if (this.#scheduled) return;
    this.#scheduled = true;
    requestAnimationFrame(() => {
      this.#scheduled = false;
      this.#draw();
    });
  }

  #draw() {
    const filled = this.#lines.filter((line) => line.points.length > 0);
    const sentences = filled.map((line) => line.describe(line.points));
    setText(this.summary, sentences.join(' '));
    this.image.setAttribute('aria-label', filled.length ? this.#options.title : `${this.#options.title}: ${WAITING}`);
    this.#area = filled.length ? this.#measure(filled) : null;
    this.image.setAttribute('width', this.#width);
    this.image.setAttribute('viewBox', `0 0 ${this.#width} ${HEIGHT}`);
    if (!this.#area) {
      fill(this.image, svg('text', { x: this.#width / 2, y: HEIGHT / 2, 'text-anchor': 'middle' }, WAITING));
      return;
    }
    this.cursor = svg('g', { class: 'chart-cursor' });
    fill(this.image, this.#drawAxes(), filled.map((line) => this.#drawLine(line)), this.cursor);
  }

  /** The plot area, and the mapping from values to positions in it. */
  #measure(filled) {
    const xs = filled.flatMap((line) => [line.points[0].x, line.points.at(-1).x]);
    let [lowX, highX] = [Math.min(...xs), Math.max(...xs)];
    if (lowX === highX) [lowX, highX] = [lowX - 0.5, highX + 0.5];
    const [lowY, highY] = this.#options.range ?? spread(filled);
    const left = MARGIN.left;
    const right = this.#width - MARGIN.right;
    const bottom = HEIGHT - MARGIN.bottom;
    return {
      left, right, bottom, top: MARGIN.top, lowX, highX, lowY, highY,
      x: (value) => left + ((value - lowX) / (highX - lowX)) * (right - left),
      y: (value) => bottom - ((value - lowY) / (highY - lowY)) * (bottom - MARGIN.top),
    };
  }

  #drawAxes() {
    const { left, right, bottom, x, y, lowX, highX, lowY, highY } = this.#area;
    const { formatX, formatY, xLabel } = this.#options;
    const across = ticks(lowX, highX, Math.max(2, Math.round(this.#width / 60))).filter(Number.isInteger);
    return svg('g', { class: 'chart-axes' },
      ticks(lowY, highY, 5).map((value) => [
        svg('line', { x1: left, x2: right, y1: y(value), y2: y(value) }),
        svg('text', { x: left - 8, y: y(value) + 4, 'text-anchor': 'end' }, formatY(value)),
      ]),
      across.map((value) => svg('text', { x: x(value), y: bottom + 17, 'text-anchor': 'middle' }, formatX(value))),
      svg('text', { class: 'chart-label', x: right, y: HEIGHT - 3, 'text-anchor': 'end' }, xLabel));
  }

  #drawLine(line) {
    const { x, y } = this.#area;
    const shown = thin(line.points, Math.max(200, this.#width));
    const places = shown.map((point) => `${x(point.x).toFixed(1)},${y(point.y).toFixed(1)}`);
    const marks = line.marks && shown.length <= 60
      ? shown.map((point) => svg('circle', { cx: x(point.x).toFixed(1), cy: y(point.y).toFixed(1), r: 3.2 }))
      : [];
    return svg('g', { class: `chart-line tone-${line.tone}`, 'data-line': line.key, 'data-points': line.points.length },
      svg('polyline', { points: places.join(' ') }), marks);
  }

  /** Shows the values nearest to the pointer. */
  #point(event) {
    if (!this.#area || !this.cursor) return;
    if (!event) {
      fill(this.cursor);
      setText(this.readout, '');
      return;
    }
    const { left, right, top, bottom, lowX, highX, x, y } = this.#area;
    const box = this.image.getBoundingClientRect();
    const share = (event.clientX - box.left - left) / (right - left);
    const wanted = lowX + Math.min(1, Math.max(0, share)) * (highX - lowX);
    const found = this.#lines
      .filter((line) => line.points.length)
      .map((line) => ({ line, point: nearest(line.points, wanted) }));
    const place = x(found[0].point.x);
    fill(this.cursor, svg('line', { x1: place, x2: place, y1: top, y2: bottom }),
      found.map(({ line, point }) => svg('circle', { class: `tone-${line.tone}`, cx: x(point.x), cy: y(point.y), r: 4 })));
    const { formatX, formatY, xLabel } = this.#options;
    const texts = found.map(({ line, point }) => `${line.label} ${formatY(point.y)} at ${xLabel} ${formatX(point.x)}`);
    setText(this.readout, texts.join('  ·  '));
  }
}

function legendEntry(line) {
  return h('li', { class: `tone-${line.tone}` }, h('span', { class: 'swatch', 'aria-hidden': 'true' }), line.label);
}

/** A y range around all values, extended to zero if that is near. */
function spread(lines) {
  let low = Infinity;
  let high = -Infinity;
  for (const { points } of lines) {
    for (const { y } of points) {
      if (y < low) low = y;
      if (y > high) high = y;
    }
  }
  if (low >= 0 && low < high * 0.5) low = 0;
  const room = (high - low || Math.abs(high) || 1) * 0.06;
  return [low === 0 ? 0 : low - room, high + room];
}

/** The point whose x is nearest, by bisection: the points are in ascending x. */
function nearest(points, x) {
  let [low, high] = [0, points.length - 1];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (points[middle].x <= x) low = middle;
    else high = middle;
  }
  return x - points[low].x <= points[high].x - x ? points[low] : points[high];
}
