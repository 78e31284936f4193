#!/usr/bin/env python3
"""`make chaos`: runs every scenario of this folder, one after another, and prints the result of each.

A scenario is a file with `run(argv)`, which prints a table and returns whether everything held; it can also be run alone. `--short` is the form
that `make test` runs, a few seconds to half a minute each.
"""

import importlib
import sys
import time
import traceback
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from harness import options  # noqa: E402


def main(argv):
    parser = options.parser(__doc__)
    parser.add_argument("scenarios", nargs="*", help="only these; all of them by default")
    chosen = parser.parse_args(argv)
    options.end_in_order()
    there_are = sorted(path.stem for path in HERE.glob("*.py") if not path.stem.startswith("_"))
    unknown = [name for name in chosen.scenarios if name not in there_are]
    if unknown:
        parser.error(f"no such scenario: {', '.join(unknown)}; there are {', '.join(there_are)}")
    passed_on = ["--server", str(chosen.server), "--worker", str(chosen.worker), "--seed", str(chosen.seed)]
    passed_on += ["--slack", str(chosen.slack)]
    passed_on += ["--short"] * chosen.short + ["--keep"] * chosen.keep
    ends = [(name, *tried(name, passed_on)) for name in chosen.scenarios or there_are]
    print("Scenarios\n")
    for name, held, seconds in ends:
        print(f"  {name:<12} {'held' if held else 'MISSED':<7} {seconds:6.1f} s")
    missed = sum(not held for _, held, _ in ends)
    print(f"\n{len(ends)} scenarios, {missed} missed, {sum(seconds for *_, seconds in ends):.0f} s, seed {chosen.seed}", flush=True)
    return 1 if missed else 0


def tried(name, argv):
    """(whether it held, how long it took). An error in one does not keep the others from running."""
    print(f"── {name}", flush=True)
    began = time.monotonic()
    try:
        held = held_in(importlib.import_module(name), argv)
    except options.Unable as reason:
        print(f"{name} cannot run: {reason}", flush=True)
        held = False
    except Exception as fault:  # A bug in a scenario counts as a miss of that scenario.
        traceback.print_exc()
        print(f"{name} failed: {fault}", flush=True)
        held = False
    return held, time.monotonic() - began


def held_in(scenario, argv):
    """Some scenarios have `run`, which returns whether it held, others only `main`, which returns an exit status."""
    if hasattr(scenario, "run"):
        return bool(scenario.run(argv))
    try:
        return not scenario.main(argv)
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, flush=True)
        return not end.code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
