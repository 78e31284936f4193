"""What TensorBoard reads in an event file: `event_file.py FOLDER` prints the scalars of the run in it, as JSON.

Each tag has a list of `[wall_time, step, value]`. `scripts/tensorboard` sets up the Python that this needs.
"""

import json
import sys

from tensorboard.backend.event_processing import event_accumulator


def main(folder):
    # 0: all of them, no sample.
    run = event_accumulator.EventAccumulator(folder, size_guidance={event_accumulator.SCALARS: 0, event_accumulator.TENSORS: 0})
    run.Reload()
    tags = run.Tags()
    assert not tags["images"] and not tags["tensors"] and not tags["graph"], tags
    print(json.dumps({tag: [[it.wall_time, it.step, it.value] for it in run.Scalars(tag)] for tag in tags["scalars"]}))


if __name__ == "__main__":
    main(sys.argv[1])
