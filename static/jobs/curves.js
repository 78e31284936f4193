// The curves of a training job, collected from its events. Pure: no DOM, no network.

/** Beyond this number, step points are halved by averaging neighbours: a week of training must not fill a tab's memory. */
const MOST_STEPS = 20_000;

export class Curves {
  constructor() {
    /** `{step, train_loss, alignment_loss, distillation_loss, lr, images_per_second}`, in ascending `step`. */
    this.steps = [];
    /** The epoch events, in ascending `epoch`. */
    this.epochs = [];
  }

  /** Applies an event; kinds other than `step`, `epoch` and `rewind` have no effect. */
  apply(kind, data) {
    if (kind === 'step') this.#addStep(data);
    else if (kind === 'epoch') this.epochs.push(data);
    else if (kind === 'rewind') this.#rewind(data.to_step);
  }

  /** A new attempt resumes from an earlier state: events about later steps no longer count. */
  #rewind(step) {
    this.steps = this.steps.filter((point) => point.step <= step);
    this.epochs = this.epochs.filter((epoch) => epoch.step <= step);
  }

  #addStep({ step, train_loss, alignment_loss, distillation_loss, lr, images_per_second }) {
    this.steps.push({ step, train_loss, alignment_loss, distillation_loss, lr, images_per_second });
    if (this.steps.length > MOST_STEPS) this.steps = halve(this.steps);
  }

  get lastStep() {
    return this.steps.at(-1);
  }

  get bestEpoch() {
    return this.epochs.findLast((epoch) => epoch.best);
  }

  /** `[{x, y}]` of a field of the steps; steps without a value are omitted. */
  perStep(field) {
    return this.steps
      .filter((point) => point[field] !== null && point[field] !== undefined)
      .map((point) => ({ x: point.step, y: point[field] }));
  }

  /** `[{x, y}]` of a field of the epochs over `step` or `epoch`; epochs without a value are omitted. */
  perEpoch(field, over = 'epoch') {
    return this.epochs
      .filter((epoch) => epoch[field] !== null && epoch[field] !== undefined)
      .map((epoch) => ({ x: epoch[over], y: epoch[field] }));
  }
}

function halve(points) {
  const half = [];
  for (let i = 0; i + 1 < points.length; i += 2) {
    const [first, second] = [points[i], points[i + 1]];
    half.push({ ...second, train_loss: (first.train_loss + second.train_loss) / 2 });
  }
  if (points.length % 2) half.push(points.at(-1));
  return half;
}
