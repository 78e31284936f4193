"""`make wheel`: pip installs it, and the programs find a libtorch, or fetch one from a registry on loopback."""

import hashlib
import os
import re
import subprocess
import sys
import time
import unittest
import zipfile

from standins import Packaging, tools
from registry import Registry
from test_libtorch import CPU_LIBRARY, one_wheel

import programs
import python_wheel

DATE = 1_700_000_000
TAG = "py3-none-manylinux_2_28_x86_64"
# In the place of the server: it tells its workers' environment and what it was asked.
TELLS = '#!/bin/sh\necho "$LD_LIBRARY_PATH|$*"\n'


class Wheel(Packaging):
    def setUp(self):
        super().setUp()
        placed = self.folder / "placed"
        programs.place_programs(placed)
        self.placed = placed
        self.wheel = self.folder / f"finetuned-{programs.version()}-{TAG}.whl"
        python_wheel.write(self.wheel, TAG, placed, DATE)

    def test_the_same_source_gives_the_same_bytes(self):
        first = self.wheel.read_bytes()
        os.utime(self.placed / "finetuned", (1, 1))
        python_wheel.write(self.wheel, TAG, self.placed, DATE)
        self.assertEqual(self.wheel.read_bytes(), first)
        with zipfile.ZipFile(self.wheel) as archive:
            self.assertEqual({entry.date_time for entry in archive.infolist()}, {time.gmtime(DATE)[:6]})

    def test_the_tag_is_what_auditwheel_finds(self):
        oldest = python_wheel.oldest_glibc(self.placed)
        said = " ".join(subprocess.check_output([tools(), "-m", "auditwheel", "show", self.wheel], text=True).split())
        found = set(re.findall(r"GLIBC_(\d+)\.(\d+)", said))
        self.assertEqual(oldest, max((int(major), int(minor)) for major, minor in found), said)

    def test_pip_installs_two_commands(self):
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", self.folder / "env"], check=True)
        python = self.folder / "env/bin/python"
        pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index", "--no-deps", self.wheel]
        subprocess.run(pip, check=True, env={**os.environ, "PIP_ROOT_USER_ACTION": "ignore"})
        own = {**os.environ, "LIBTORCH": str(self.make_libtorch())}
        for name in ("finetuned", "finetuned-worker"):
            told = subprocess.run([self.folder / "env/bin" / name, "--version"], env=own, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            # The system's `true`, which took the programs' place.
            self.assertEqual(told.returncode, 0, told.stdout)
            self.assertIn("true", told.stdout)


class Launch(Packaging):
    """The wheel's files, with a server that tells what it got."""

    def setUp(self):
        super().setUp()
        self.registry = Registry()
        self.addCleanup(self.registry.close)
        self.registry.files = one_wheel()
        placed = self.folder / "placed"
        programs.place_programs(placed)
        wheel = self.folder / f"finetuned-{programs.version()}-{TAG}.whl"
        python_wheel.write(wheel, TAG, placed, DATE)
        self.site = self.folder / "site"
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(self.site)
        server = self.site / "finetuned/bin/finetuned"
        server.write_text(TELLS)
        server.chmod(0o755)
        pins = "".join(f"cpu {len(body)} {hashlib.sha256(body).hexdigest()} {name}\n" for name, body in self.registry.files.items())
        (self.site / "finetuned/setup/libtorch-wheels.txt").write_text(pins)
        self.layout = self.folder / "cache/finetuned/libtorch/2.11.0-cpu"

    def run_program(self, *arguments, **environment):
        inherited = self.registry.environment(self.folder / "cache")
        environment = {**inherited, "PYTHONPATH": str(self.site), "FINETUNED_LIBTORCH": "cpu", "LD_LIBRARY_PATH": "", **environment}
        command = [sys.executable, "-B", "-m", "finetuned", *arguments]
        done = subprocess.run(command, env=environment, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
        return done.returncode, done.stdout.strip(), done.stderr

    def put_torch(self, version):
        torch = self.site / "torch"
        (torch / "lib").mkdir(parents=True)
        (torch / "__init__.py").write_text("raise SystemExit('nobody needs to import it')\n")
        (torch / "version.py").write_text(f"__version__ = '{version}'\n")
        for name in ("libc10.so", "libtorch_cpu.so"):
            (torch / "lib" / name).write_text("")
        return torch

    def test_the_first_start_fetches_and_the_second_does_not(self):
        status, told, said = self.run_program("serve", "--listen", "127.0.0.1:0")
        self.assertEqual((status, told), (0, f"{self.layout}/lib|serve --listen 127.0.0.1:0"), said)
        self.assertEqual((self.layout / "lib/libtorch_cpu.so").read_bytes(), CPU_LIBRARY)
        self.registry.requests.clear()
        status, told, said = self.run_program("serve")
        self.assertEqual((status, told, said), (0, f"{self.layout}/lib|serve", ""))
        self.assertEqual(self.registry.requests, [])

    def test_commands_for_a_server_elsewhere_fetch_nothing(self):
        for arguments in (["upload", "a.zip"], ["--version"], [], ["serve", "--help"]):
            status, told, said = self.run_program(*arguments)
            self.assertEqual((status, told, said), (0, f"|{' '.join(arguments)}", ""))
        self.assertFalse((self.folder / "cache").exists())

    def test_the_torch_beside_it_is_used_and_not_imported(self):
        torch = self.put_torch("2.11.0+cu130")
        status, told, said = self.run_program("serve")
        self.assertEqual((status, told, said), (0, f"{torch}/lib|serve", ""))
        self.assertEqual(self.registry.requests, [])

    def test_another_torch_beside_it_is_left_alone_and_named(self):
        self.put_torch("2.9.0")
        status, told, said = self.run_program("serve")
        self.assertEqual((status, told), (0, f"{self.layout}/lib|serve"))
        self.assertIn("is 2.9.0, and libtorch 2.11.0 is needed", said)
        # Commands that need none do not mention it.
        self.assertEqual(self.run_program("watch")[2], "")

    def test_the_libtorch_that_is_named_is_used_or_refused(self):
        own = self.make_libtorch()
        status, told, said = self.run_program("serve", LIBTORCH=str(own), LD_LIBRARY_PATH="/mine")
        self.assertEqual((status, told), (0, f"{own}/lib:/mine|serve"), said)
        (own / "build-version").write_text("2.1.0\n")
        status, told, said = self.run_program("serve", LIBTORCH=str(own))
        self.assertEqual((status, told), (1, ""))
        self.assertIn("is libtorch 2.1.0, and this program is built for 2.11.0", said)
        self.assertNotIn("Traceback", said)

    def test_a_registry_that_answers_nothing_is_said(self):
        self.registry.files = {}
        status, told, said = self.run_program("serve")
        self.assertEqual((status, told), (1, ""))
        self.assertIn("could not fetch torch-2.11.0", said)
        self.assertNotIn("Traceback", said)


if __name__ == "__main__":
    unittest.main()
