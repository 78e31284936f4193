#!/usr/bin/env python3
"""A database that does not belong to the blobs beside it: missing, empty, older, newer, from another directory.

The server refuses to start, in one line that says what happened, and touches no blob. With the right database restored, everything works as before.

    python3 -B scripts/chaos/wrongdb.py
"""

import contextlib
import shutil
import sqlite3
import sys

from harness import images, left, options
from harness.server import Server, refused
from harness.table import Table

DATASETS, EARLY = 6, 2
DATABASE = "finetuned.db"
LONGEST_LINE = 600
A_MIGRATION_TO_COME = 20_990_101


def fill(chosen, folder, data_dir, first, count):
    """Adds this many datasets to a data directory, and stops its server."""
    with Server(chosen, folder, data_dir=data_dir) as server:
        server.start()
        for number in range(first, first + count):
            server.api.upload(f"set-{number}", images.archive(100 * number, 4))
        server.stop()


class Database:
    """The database of a stopped server, and ways to replace it."""

    def __init__(self, data):
        self.data = data

    def remove(self):
        for file in self.data.glob(f"{DATABASE}*"):
            file.unlink()

    def replace(self, folder):
        self.remove()
        for file in folder.glob(f"{DATABASE}*"):
            shutil.copy2(file, self.data)

    def empty(self):
        self.remove()
        (self.data / DATABASE).touch()

    def age(self):
        with contextlib.closing(sqlite3.connect(self.data / DATABASE)) as connection, connection:
            connection.execute(
                "insert into _sqlx_migrations (version, description, installed_on, success, checksum, execution_time)"
                " values (?, 'to come', current_timestamp, 1, x'00', 0)",
                (A_MIGRATION_TO_COME,),
            )


def run(argv):
    chosen = options.parse(options.parser(__doc__), argv)
    table = Table("A database that does not match the blobs", chosen.slack)
    with options.scratch(chosen) as folder:
        whole, early, other = folder / "whole", folder / "early", folder / "other"
        fill(chosen, folder, whole, 0, EARLY)
        shutil.copytree(whole, early)
        fill(chosen, folder, whole, EARLY, DATASETS - EARLY)
        fill(chosen, folder, other, 100, EARLY)
        wrong = {
            "missing": Database.remove,
            "empty": Database.empty,
            "older": lambda database: database.replace(early),
            "newer": Database.age,
            "from another directory": lambda database: database.replace(other),
        }
        for number, (name, make_wrong) in enumerate(wrong.items()):
            # A separate directory for each: files deleted in one try must not hide deletions in the next.
            data = folder / f"data-{number}"
            shutil.copytree(whole, data)
            make_wrong(Database(data))
            refuse(table, chosen, folder, data, name)
            Database(data).replace(whole)
            go_on(table, chosen, folder, data, name)
    return table.show()


def refuse(table, chosen, folder, data, name):
    before = left.blobs(data)
    status, said = refused(chosen, folder, data, seconds=10 * chosen.slack)
    removed = before - left.blobs(data)
    lines = [line for line in said.splitlines() if line.startswith("finetuned: ")]
    clear = len(lines) == 1 and len(lines[0]) <= LONGEST_LINE and "panicked" not in said
    table.row(f"{name}: refused, with status", str(status), "not 0", status not in (None, 0))
    table.row(f"{name}: lines with the reason", str(len(lines)), "1", clear)
    for line in lines:
        print(f"  {name}: {line}", flush=True)
    table.row(f"{name}: blobs removed", f"{len(removed)} of {len(before)}", "0", not removed)


def go_on(table, chosen, folder, data, name):
    with Server(chosen, folder, data_dir=data) as server:
        server.start()
        ready = [one for one in server.api.every("/v1/datasets") if one["status"] == "ready"]
        whole = [one for one in ready if server.api.ask("GET", f"/v1/datasets/{one['name']}/archive").ok]
        server.stop()
    table.all(f"{name}: datasets intact, with the right one restored", len(whole), DATASETS)


if __name__ == "__main__":
    sys.exit(options.main(run, sys.argv[1:]))
