"""`make release`: the same source gives the same bytes, and what is in them installs."""

import json
import os
import subprocess
import tarfile
import unittest

from standins import ROOT, Packaging, programs

import debian
import release
import sbom
import source_date

DATE = 1_700_000_000


class Tarball(Packaging):
    def lay_out(self, name, umask=0o022):
        before = os.umask(umask)
        try:
            root = self.folder / name / "finetuned"
            release.lay_out(root, "{}\n")
        finally:
            os.umask(before)
        return root

    def test_neither_folder_nor_umask_nor_time_changes_the_bytes(self):
        first, second = self.lay_out("one"), self.lay_out("another", umask=0o077)
        os.utime(second / "bin/finetuned", (1, 1))
        self.assertEqual(release.tarball(first, DATE), release.tarball(second, DATE))
        made = []
        for number, root in enumerate((first, second)):
            out = self.folder / str(number)
            out.mkdir()
            made.append(debian.make(root, out, DATE).read_bytes())
        self.assertEqual(*made)

    def test_everything_belongs_to_root_and_can_be_read(self):
        packed = self.folder / "packed.tar.gz"
        packed.write_bytes(release.tarball(self.lay_out("one", umask=0o077), DATE))
        with tarfile.open(packed) as archive:
            entries = archive.getmembers()
        self.assertEqual([entry.name for entry in entries], sorted(entry.name for entry in entries))
        for entry in entries:
            self.assertEqual((entry.uid, entry.uname, entry.mtime), (0, "root", DATE))
            runs = entry.isdir() or entry.name.startswith("finetuned/bin/") or entry.name.endswith(("install.sh", "setup/libtorch"))
            self.assertEqual(entry.mode, 0o755 if runs else 0o644, entry.name)

    def test_programs_have_a_run_path_that_moves_with_them(self):
        root = self.lay_out("one")
        told = {name: subprocess.check_output(["readelf", "-d", root / "bin" / name], text=True) for name in ("finetuned", "finetuned-worker")}
        self.assertIn("[$ORIGIN/../libtorch/lib]", told["finetuned-worker"])
        self.assertNotIn("RUNPATH", told["finetuned"])

    def test_programs_that_are_missing_or_not_stripped_are_refused(self):
        debug = self.folder / "debug.o"
        subprocess.run(["cc", "-x", "c", "-c", "-g", "-o", debug, "-"], input=b"int one;", check=True)
        (programs.BUILT / "finetuned-worker").write_bytes(debug.read_bytes())
        with self.assertRaisesRegex(programs.Problem, "symbol table"):
            programs.place_programs(self.folder / "bin")
        (programs.BUILT / "finetuned-worker").unlink()
        with self.assertRaisesRegex(programs.Problem, "run `make build`"):
            programs.place_programs(self.folder / "bin")

    def test_a_date_that_is_none_is_refused(self):
        before = os.environ.get("SOURCE_DATE_EPOCH")
        self.addCleanup(lambda: os.environ.pop("SOURCE_DATE_EPOCH") if before is None else os.environ.update(SOURCE_DATE_EPOCH=before))
        os.environ["SOURCE_DATE_EPOCH"] = "yesterday"
        with self.assertRaisesRegex(programs.Problem, "seconds since 1970"):
            source_date.source_date()


class Install(Packaging):
    def setUp(self):
        super().setUp()
        self.unpacked = self.folder / "unpacked"
        release.lay_out(self.unpacked, "{}\n")
        self.prefix = self.folder / "prefix"

    def install(self, *arguments, **environment):
        command = [self.unpacked / "install.sh", "--prefix", self.prefix, "--no-unit", *arguments]
        environment = {**os.environ, "LIBTORCH": str(self.make_libtorch() if not (self.folder / "own").exists() else self.folder / "own"), **environment}
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
        return done.returncode, done.stdout

    def test_it_installs_and_a_second_time_replaces(self):
        for _ in range(2):
            status, said = self.install()
            self.assertEqual(status, 0, said)
            self.assertEqual(os.readlink(self.prefix / "libtorch"), str(self.folder / "own"))
            self.assertEqual({path.name for path in self.prefix.iterdir()}, {"bin", "setup", "share", "libtorch"})
            self.assertEqual({path.name for path in (self.prefix / "bin").iterdir()}, {"finetuned", "finetuned-worker"})
            (self.prefix / "setup/old.py").write_text("")
        status, said = self.install()
        self.assertFalse((self.prefix / "setup/old.py").exists())

    def test_a_damaged_release_installs_nothing(self):
        with open(self.unpacked / "bin/finetuned", "ab") as program:
            program.write(b"x")
        status, said = self.install()
        self.assertEqual(status, 1)
        self.assertIn("bin/finetuned", said)
        self.assertIn("unpack it again", said)
        self.assertFalse(self.prefix.exists())

    def test_another_libtorch_is_refused_and_says_so(self):
        own = self.make_libtorch()
        (own / "build-version").write_text("2.9.0\n")
        status, said = self.install()
        self.assertEqual(status, 1)
        self.assertIn("is libtorch 2.9.0", said)
        self.assertIn("run this again when that is mended", said)

    def test_what_it_does_not_know_is_refused(self):
        for arguments, answer in ((["--prefix", "here"], "whole path"), (["--prefix", "/a b"], "spaces"), (["--quick"], "does not know --quick"), (["--prefix"], "needs a folder")):
            status, said = self.install(*arguments)
            self.assertEqual(status, 1, said)
            self.assertIn(answer, said)


class BillOfMaterials(unittest.TestCase):
    def test_it_lists_what_is_in_the_programs_and_nothing_else(self):
        text = sbom.describe(DATE)
        self.assertEqual(text, sbom.describe(DATE))
        told = json.loads(text)
        found = {part["name"]: part for part in told["components"]}
        self.assertEqual(told["metadata"]["component"]["name"], "finetuned")
        self.assertEqual(told["metadata"]["timestamp"], "2023-11-14T22:13:20+00:00")
        for name in ("axum", "tch", "torch-sys", "libsqlite3-sys", "torch", "nvidia-cuda-cupti"):
            self.assertIn(name, found)
        for name in ("proptest", "rcgen", "cc"):
            self.assertNotIn(name, found)
        locked = (ROOT / "Cargo.lock").read_text()
        for name, part in found.items():
            self.assertRegex(part["hashes"][0]["content"], "^[0-9a-f]{64}$", name)
            self.assertTrue(part["licenses"], name)
            self.assertTrue(part["purl"].startswith("pkg:pypi/") or part["hashes"][0]["content"] in locked, name)
        refs = {told["metadata"]["component"]["bom-ref"], *(part["bom-ref"] for part in told["components"])}
        self.assertEqual({one["ref"] for one in told["dependencies"]}, refs)


if __name__ == "__main__":
    unittest.main()
