"""What the tests of packages share: the modules of `scripts/packages` with their tools, and stand-ins for the programs and for libtorch."""

import shutil
import site
import sys
import tempfile
import unittest
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent.parent
ROOT = SCRIPTS.parent
if sys.version_info < (3, 11):
    raise unittest.SkipTest("the tools for packages need Python 3.11")
sys.path[:0] = [str(SCRIPTS), str(SCRIPTS / "packages")]

from environments import tools  # noqa: E402

site.addsitedir(str(tools().parent.parent / f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"))

import programs  # noqa: E402


class Packaging(unittest.TestCase):
    """A folder of its own, and two programs of the system in the place of those that cargo builds."""

    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="packages-test-"))
        self.addCleanup(shutil.rmtree, self.folder)
        built, programs.BUILT = programs.BUILT, self.folder / "built"
        self.addCleanup(setattr, programs, "BUILT", built)
        programs.BUILT.mkdir()
        for name in (programs.SERVER, programs.WORKER):
            shutil.copy("/bin/true", programs.BUILT / name)

    def make_libtorch(self, name="own"):
        """A folder that says it is libtorch 2.11.0, with empty libraries."""
        own = self.folder / name
        (own / "lib").mkdir(parents=True)
        for library in ("libc10.so", "libtorch_cpu.so"):
            (own / "lib" / library).write_text("")
        (own / "build-version").write_text("2.11.0\n")
        return own
