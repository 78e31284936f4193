"""Measured values against targets: the table of the benchmarks, with rows for things that must never happen."""

from . import options  # puts `benches` on the path

from measure.table import Table as Measurements

assert options
SHOWN = 12


class Table(Measurements):
    """As in the benchmarks, with `none` and `all` in addition. Violations are listed below the table."""

    def __init__(self, title, slack=1.0):
        super().__init__(title)
        self.slack, self.faults = slack, []

    def none(self, name, faults):
        """Things that must not have happened; each as text."""
        faults = [str(fault) for fault in faults]
        self.row(name, f"{len(faults):,}", "0", not faults)
        self.faults += [f"{name}: {fault}" for fault in faults[:SHOWN]]
        if len(faults) > SHOWN:
            self.faults.append(f"{name}: … and {len(faults) - SHOWN} more")

    def all(self, name, held, of, faults=()):
        """All `of` items must have held, and there must be at least one; `faults` describe those that did not."""
        self.row(name, f"{held:,} of {of:,}", "all", held == of > 0)
        self.faults += [f"{name}: {fault}" for fault in list(faults)[:SHOWN]]

    def within(self, name, seconds, limit):
        """The longest of several times, in seconds. `slack` extends the limit on a machine that is busy with other things."""
        seconds = list(seconds)
        limit *= self.slack
        longest = max(seconds, default=0.0)
        self.row(f"{name}, longest of {len(seconds)}", f"{longest:.2f} s", f"≤ {limit:g} s", longest <= limit and bool(seconds))

    def count(self, name, number):
        """A count, without a target."""
        self.rows.append((name, f"{number:,}", "", ""))

    def row(self, name, measured, must, met):
        self.met &= met
        self.rows.append((name, measured, must, "met" if met else "MISSED"))

    def show(self):
        super().show()
        for fault in self.faults:
            print(f"  {fault}")
        if self.faults:
            print(flush=True)
        return self.met
