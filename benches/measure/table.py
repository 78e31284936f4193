"""One table for every benchmark: what was measured, its target, and whether it was met."""

import os
import platform
from pathlib import Path


class Table:
    """Rows are added as they are measured and printed at the end; `met` is False once one missed its target."""

    def __init__(self, title):
        self.title, self.rows, self.met = title, [], True

    def at_most(self, name, value, target, unit):
        """A number that must not be larger than its target."""
        met = value <= target
        self.met &= met
        self.rows.append((name, shown(value, unit), f"≤ {target:,} {unit}", "met" if met else "MISSED"))

    def at_least(self, name, value, target, unit):
        """A number that must not be smaller than its target."""
        met = value >= target
        self.met &= met
        self.rows.append((name, shown(value, unit), f"≥ {target:,} {unit}", "met" if met else "MISSED"))

    def note(self, name, value, unit):
        """A number, or several, without a target."""
        values = value if isinstance(value, tuple) else (value,)
        self.rows.append((name, " / ".join(f"{value:,.1f}" for value in values) + f" {unit}", "", ""))

    def show(self):
        head = ("", "measured", "target", "verdict")
        widths = [max(len(row[column]) for row in [head, *self.rows]) for column in range(4)]
        print(f"\n{self.title} ({machine()})\n")
        for row in [head, *self.rows]:
            name, *cells = (cell.ljust(width) for cell, width in zip(row, widths))
            print("  " + "  ".join([name, *cells]).rstrip())
        print(flush=True)


def shown(value, unit):
    # A ratio of 1.26 is not one of 1.3.
    return f"{value:,.2f} x" if unit == "x" else f"{value:,.1f} {unit}"


def machine():
    """What the numbers were measured on."""
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return f"{len(os.sched_getaffinity(0))} cores of {model}, Linux {platform.release()}"
