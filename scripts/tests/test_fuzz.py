"""scripts/fuzz: its targets are those of fuzz/Cargo.toml, and the seeds of each are intact."""

import importlib.machinery
import importlib.util
import re
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
BEGINNINGS = (b"PK\x03\x04", b"\x1f\x8b", b"ants/", b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II\x2a\0", b"RIFF", b"\0\0\0\x0cjP", b"\xff\x4f\xff\x51", b"P", b"\x08\0")
# The offsets of the magic of DICOM, and of tar in the header of the first entry.
DICOM = slice(128, 132)
USTAR = slice(257, 262)


def fuzz():
    loader = importlib.machinery.SourceFileLoader("fuzz", str(ROOT / "scripts/fuzz"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("fuzz", loader))
    loader.exec_module(module)
    return module


class Seeds(unittest.TestCase):
    def test_every_target_of_the_workspace_is_run(self):
        named = re.findall(r'\[\[bin\]\]\nname = "(.*)"', (ROOT / "fuzz/Cargo.toml").read_text())
        self.assertEqual(tuple(named), fuzz().TARGETS)

    def test_seeds_become_the_files_that_they_describe(self):
        script = fuzz()
        with tempfile.TemporaryDirectory() as folder:
            seeds, script.FUZZ = ROOT / "fuzz/seeds", Path(folder)
            (script.FUZZ / "seeds").symlink_to(seeds)
            for target in script.TARGETS:
                script.sow(target)
                sown = sorted((script.FUZZ / "corpus" / target).iterdir())
                self.assertEqual(len(sown), len(list((seeds / target).iterdir())))
                for file in sown:
                    data = file.read_bytes()
                    if target in ("archive", "image"):
                        known = data.startswith(BEGINNINGS) or data[USTAR] == b"ustar" or data[DICOM] == b"DICM"
                        self.assertTrue(known, f"{target}/{file.name} begins with {data[:8]!r}")

    def test_dictionaries_are_of_targets_and_can_be_read(self):
        for file in sorted((ROOT / "fuzz/dictionaries").iterdir()):
            self.assertIn(file.stem, fuzz().TARGETS)
            for line in file.read_text().splitlines():
                self.assertRegex(line, r'^(#.*|"([^"\\]|\\["\\]|\\x[0-9a-f]{2})+")$', file.name)


if __name__ == "__main__":
    unittest.main()
