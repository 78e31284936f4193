"""`benches/gpu/lease` with a worker that plays one, and steps that crash, hang and say nothing."""

import argparse
import contextlib
import importlib.machinery
import importlib.util
import io
import json
import shutil
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
LEASE = ROOT / "benches/gpu/lease"


def lease():
    sys.dont_write_bytecode = True
    loader = importlib.machinery.SourceFileLoader("lease", str(LEASE))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("lease", loader))
    loader.exec_module(module)
    return module


class Programs(unittest.TestCase):
    """The whole command in a tree of its own."""

    def setUp(self):
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        shutil.copytree(ROOT / "benches", self.folder / "benches", ignore=shutil.ignore_patterns("__pycache__"))
        (self.folder / "target/release").mkdir(parents=True)

    def worker(self, *devices):
        listed = [{"name": name, "description": "a stand-in", "threads": 1, "memory_bytes": 1 << 30} for name in devices]
        program = self.folder / "target/release/finetuned-worker"
        probe = '[ "$1 $2 $3" = "probe --device cuda:0" ] || exit 1'
        program.write_text(f"#!/bin/sh\nif [ $1 = devices ]; then echo '{json.dumps(listed)}'; else {probe}; fi\n")
        program.chmod(0o755)

    def run_it(self, *arguments):
        command = [sys.executable, "-B", self.folder / "benches/gpu/lease", *arguments]
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)

    def test_without_a_card_it_says_so_and_has_a_status_of_its_own(self):
        self.worker("cpu")
        ended = self.run_it()
        self.assertEqual(ended.returncode, 77, ended.stdout)
        self.assertIn("there is no cuda:0 here", ended.stdout)

    def test_a_step_by_itself_prints_its_rows(self):
        self.worker("cuda:0", "cpu")
        rows = json.loads(self.run_it("--step", "devices").stdout)
        self.assertEqual([row["name"] for row in rows], ["cuda:0", "cpu"])
        self.assertEqual(self.run_it("--step", "probe").returncode, 0)
        self.assertNotEqual(self.run_it("--step", "probe", "--device", "cuda:1").returncode, 0)


class Steps(unittest.TestCase):
    def run_steps(self, limits, minutes=1.0, **programs):
        module = lease()

        def command_of(name, _):
            return [sys.executable, "-c", programs[name]]

        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()) as output:
            file = Path(folder) / "table.json"
            arguments = argparse.Namespace(minutes=minutes, json=file)
            status = module.run(arguments, command_of, limits)
            return status, json.loads(file.read_text()), output.getvalue()

    def test_a_table_of_what_was_met(self):
        row = {"name": "speed", "measured": "2 x", "target": ">= 1 x", "verdict": "met"}
        status, rows, printed = self.run_steps({"good": 20}, good=f"import json; print('chatter'); print(json.dumps([{row}]))")
        self.assertEqual((status, rows), (0, [{"step": "good", **row}]))
        self.assertIn("speed", printed)

    def test_what_crashes_hangs_or_says_nothing_is_told_and_the_next_step_begins(self):
        began = time.monotonic()
        status, rows, _ = self.run_steps(
            {"crashes": 20, "hangs": 1, "dies": 20, "mute": 20, "good": 20},
            crashes="raise SystemExit('no such kernel')",
            hangs="import subprocess, time; subprocess.run(['sleep', '60'])",
            dies="import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
            mute="pass",
            good="print('[]')",
        )
        self.assertEqual(status, 1)
        self.assertEqual([row["step"] for row in rows], ["crashes", "hangs", "dies", "mute"])
        self.assertTrue(all(row["verdict"] == "BROKE" for row in rows), rows)
        self.assertIn("no such kernel", rows[0]["name"])
        self.assertIn("no end after 1 s", rows[1]["name"])
        self.assertIn("status -11", rows[2]["name"])
        self.assertLess(time.monotonic() - began, 30)

    def test_a_missed_target_is_a_failure_and_no_step_begins_when_the_time_is_over(self):
        row = {"name": "speed", "measured": "", "target": "", "verdict": "MISSED"}
        status, rows, _ = self.run_steps({"bad": 20, "late": 20}, bad=f"print('[{json.dumps(row)}]')", late="print('[]')")
        self.assertEqual((status, [row["verdict"] for row in rows]), (1, ["MISSED"]))
        status, rows, _ = self.run_steps({"late": 20}, minutes=0, late="print('[]')")
        self.assertEqual((status, [row["verdict"] for row in rows]), (1, ["NOT RUN"]))


if __name__ == "__main__":
    unittest.main()
