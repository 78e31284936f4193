"""The command line of every scenario, and the folder that it works in."""

import argparse
import contextlib
import random
import shutil
import signal
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent.parent
sys.path.append(str(ROOT / "benches"))


class Unable(Exception):
    """Why a scenario cannot run here, and what to do about it. It counts as a failure: what was not tested is unknown."""


def parser(about):
    options = argparse.ArgumentParser(description=about.splitlines()[0])
    options.add_argument("--server", type=Path, default=ROOT / "target/release/finetuned", help="the program `finetuned`")
    options.add_argument("--worker", type=Path, default=ROOT / "target/release/finetuned-worker", help="its worker program")
    options.add_argument("--seed", type=int, default=0, help="for everything random")
    options.add_argument("--short", action="store_true", help="the short form, as in `make test`")
    options.add_argument("--slack", type=float, default=1.0, help="factor for every time limit: for a machine that is busy with other things")
    options.add_argument("--keep", action="store_true", help="keep the scenario's folder, with the server's log and data")
    return options


def parse(options, argv):
    chosen = options.parse_args(argv)
    chosen.server, chosen.worker = chosen.server.resolve(), chosen.worker.resolve()
    chosen.random = random.Random(chosen.seed)
    for program in (chosen.server, chosen.worker):
        if not program.is_file():
            raise Unable(f"{program} does not exist: run `make build`")
    return chosen


@contextlib.contextmanager
def scratch(chosen):
    """A temporary folder for the scenario, on a real disk: on a memory file system syncs would be too fast."""
    beside = ROOT / "target/chaos"
    beside.mkdir(parents=True, exist_ok=True)
    folder = tempfile.mkdtemp(dir=beside)
    with contextlib.ExitStack() as stack:
        if chosen.keep:
            print(f"  the scenario's folder is {folder}", flush=True)
        else:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        yield Path(folder)


def end_in_order():
    """On SIGTERM, a scenario still ends the processes that it started."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def main(run, argv):
    """Runs a scenario as a program: status 0 if everything held, 1 if something did not or if it could not run."""
    end_in_order()
    try:
        return 0 if run(argv) else 1
    except Unable as reason:
        print(f"cannot run: {reason}", flush=True)
        return 1
