"""`scripts/libtorch` against a registry on loopback and wheels of a few kilobytes.

Each test copies the scripts into a clone of its own, with its own list of pins and its own cache, and runs them as a user
would. Nothing outside the test's folder is touched.
"""

import contextlib
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import zipfile
from pathlib import Path

from registry import Registry, wheel

SCRIPTS = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(SCRIPTS))

import torchlib  # noqa: E402
from wheels import read_pins  # noqa: E402

TORCH = "torch-2.11.0-cp311-cp311-manylinux_2_28_x86_64.whl"
CUPTI = "nvidia_cuda_cupti-13.0.85-py3-none-manylinux_2_25_x86_64.whl"
CUDART = "nvidia_cuda_runtime-13.0.96-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl"
CPU_LIBRARY = bytes(range(256)) * 2000
HEADER = "torch/include/torch/csrc/api/include/torch/torch.h"
BOUND_SECONDS = 60


def tiny_wheels():
    """The three wheels of the CPU layout, with files to take and files to skip."""
    torch = {
        HEADER: b"// torch\n",
        "torch/include/ATen/ATen.h": b"// ATen\n",
        "torch/lib/libc10.so": b"c10",
        "torch/lib/libtorch_cpu.so": CPU_LIBRARY,
        "torch/lib/libtorch_cuda.so": b"cuda",
        "torch/lib/libtorch_python.so": b"python",
        "torch/lib/libtorch.so": b"needs libtorch_cuda.so",
        "torch/lib/libgomp.so.1": b"gomp",
        "torch/version.py": b"__version__ = '2.11.0+cu130'\n",
        "torch/__init__.py": b"",
    }
    cupti = {"nvidia/cu13/lib/libcupti.so.13": b"cupti", "nvidia/cu13/lib/libnvperf_host.so": b"nvperf"}
    cudart = {"nvidia/cu13/lib/libcudart.so.13": b"cudart", "nvidia/cu13/lib/libcudart_static.a": b"static"}
    return {
        TORCH: wheel("torch", "2.11.0", torch),
        CUPTI: wheel("nvidia_cuda_cupti", "13.0.85", cupti),
        CUDART: wheel("nvidia_cuda_runtime", "13.0.96", cudart),
    }


def one_wheel():
    """The same members in one wheel, for tests that do not depend on their number: each wheel costs pip a second."""
    members = {}
    for body in tiny_wheels().values():
        members.update(members_of(body))
    return {TORCH: wheel("torch", "2.11.0", members)}


class Scene(unittest.TestCase):
    """A registry, an empty cache and one clone."""

    wheels = staticmethod(one_wheel)

    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="libtorch-test-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.registry = Registry()
        self.addCleanup(self.registry.close)
        self.registry.files = self.wheels()
        self.pins = "".join(
            f"cpu,cuda {len(body)} {hashlib.sha256(body).hexdigest()} {name}\n" for name, body in self.registry.files.items()
        )
        self.shelf = self.folder / "cache/finetuned/libtorch"
        self.layout = self.shelf / "2.11.0-cpu"
        self.clone = self.another_clone("clone")

    def another_clone(self, name):
        clone = self.folder / name
        (clone / "scripts").mkdir(parents=True)
        for script in ("libtorch", "torchlib.py", "wheels.py", "cachedir.py"):
            shutil.copy(SCRIPTS / script, clone / "scripts" / script)
        (clone / "scripts/libtorch-wheels.txt").write_text("# pins\n" + self.pins)
        return clone

    def bring_wheels(self):
        """Puts the wheels where a fetch would put them, for tests that are not about fetching."""
        downloads = self.shelf / "downloads"
        downloads.mkdir(parents=True, exist_ok=True)
        for name, body in self.registry.files.items():
            (downloads / name).write_bytes(body)

    def start(self, clone=None, arguments=("--cpu",), **environment):
        environment = {**self.registry.environment(self.folder / "cache"), **environment}
        command = [sys.executable, str((clone or self.clone) / "scripts/libtorch"), *arguments]
        return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)

    def run_script(self, *arguments, **options):
        process = self.start(*arguments, **options)
        _, said = process.communicate(timeout=BOUND_SECONDS)
        return process.returncode, said

    def wait_until(self, happened, process):
        """Polls until the condition holds; fails if the process ends or the time is up."""
        end = time.monotonic() + BOUND_SECONDS
        while not happened():
            self.assertLess(time.monotonic(), end)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0.01)
                self.fail(process.stderr.read())

    def succeed(self, *arguments, **options):
        status, said = self.run_script(*arguments, **options)
        self.assertEqual(status, 0, said)
        return said

    def refuse(self, *arguments, **options):
        status, said = self.run_script(*arguments, **options)
        self.assertEqual(status, 1, said)
        self.assertNotIn("Traceback", said)
        return said

    def assert_whole(self, clone=None):
        link = (clone or self.clone) / ".libtorch"
        self.assertEqual(os.readlink(link), str(self.layout))
        self.assertEqual((link / "lib/libtorch_cpu.so").read_bytes(), CPU_LIBRARY)
        self.assertEqual((link / "build-version").read_text(), "2.11.0\n")
        left_over = {path.name for path in self.shelf.iterdir()} - {".lock", "2.11.0-cpu", "downloads"}
        self.assertEqual(left_over, set())


class FreshMachine(Scene):
    wheels = staticmethod(tiny_wheels)

    def test_a_fresh_machine_gets_the_cpu_layout_and_a_second_clone_fetches_nothing(self):
        self.succeed()
        self.assert_whole()
        files = {str(path.relative_to(self.layout)) for path in self.layout.rglob("*") if path.is_file()}
        self.assertEqual(
            files,
            {"include/torch/csrc/api/include/torch/torch.h", "include/ATen/ATen.h", "build-version", "complete"}
            | {"lib/" + name for name in ("libc10.so", "libtorch_cpu.so", "libtorch.so", "libgomp.so.1")}
            | {"lib/libcupti.so.13", "lib/libcudart.so.13"},
        )
        self.assertEqual((self.layout / "lib/libtorch.so").read_text(), "INPUT(libtorch_cpu.so)\n")
        self.assertEqual(list((self.shelf / "downloads").iterdir()), [])

        self.registry.requests.clear()
        second = self.another_clone("second")
        self.succeed(clone=second)
        self.assert_whole(second)
        self.assertEqual(self.registry.requests, [])


class Fetching(Scene):
    def test_the_link_is_left_alone_while_it_is_right_and_replaced_when_it_is_not(self):
        (self.clone / ".libtorch").symlink_to("/nowhere")
        self.bring_wheels()
        self.succeed()
        self.assert_whole()
        made = os.lstat(self.clone / ".libtorch").st_mtime_ns
        self.succeed()
        self.assertEqual(os.lstat(self.clone / ".libtorch").st_mtime_ns, made)

    def test_a_killed_fetch_resumes_and_is_never_taken_for_complete(self):
        self.registry.stop_after = 100_000
        process = self.start()
        self.assertTrue(self.registry.stopped.wait(BOUND_SECONDS))
        part = self.shelf / "downloads" / (TORCH + ".part")
        self.wait_until(lambda: part.exists() and part.stat().st_size, process)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=BOUND_SECONDS)
        self.assertFalse(self.layout.exists())
        self.assertFalse((self.clone / ".libtorch").is_symlink())
        have = part.stat().st_size

        self.registry.stop_after = None
        self.registry.requests.clear()
        self.succeed()
        self.assert_whole()
        self.assertEqual(self.registry.asked_for(TORCH), [f"bytes={have}-"])

    def test_a_broken_connection_resumes(self):
        self.registry.drop_after = [100_000]
        said = self.succeed()
        self.assert_whole()
        first, second = self.registry.asked_for(TORCH)
        self.assertIsNone(first)
        self.assertRegex(second, r"^bytes=[1-9]\d*-$")
        self.assertIn("resuming from there", said)

    def test_a_server_without_ranges_is_fetched_from_the_start(self):
        self.registry.ranges = False
        self.registry.drop_after = [100_000]
        self.succeed()
        self.assert_whole()

    def test_a_damaged_partial_file_is_discarded_and_fetched_again(self):
        downloads = self.shelf / "downloads"
        downloads.mkdir(parents=True)
        (downloads / (TORCH + ".part")).write_bytes(b"x" * 1000)
        said = self.succeed()
        self.assert_whole()
        self.assertEqual(self.registry.asked_for(TORCH), ["bytes=1000-", None])
        self.assertIn("damaged", said)

    def test_pip_fetches_where_only_pip_is_let_in(self):
        self.registry.turn_away = "Python-urllib"
        said = self.succeed()
        self.assert_whole()
        self.assertIn("pip fetches the whole file instead", said)

    def test_other_bytes_than_the_pinned_ones_are_refused(self):
        other = bytearray(self.registry.files[TORCH])
        other[len(other) // 2] ^= 1
        self.registry.files[TORCH] = bytes(other)
        said = self.refuse()
        self.assertIn("does not have the pinned SHA-256", said)
        self.assertFalse(self.layout.exists())
        self.assertFalse((self.clone / ".libtorch").is_symlink())
        self.assertEqual(list((self.shelf / "downloads").iterdir()), [])

    def test_two_clones_at_once_fetch_once(self):
        self.registry.stop_after = 1000
        first = self.start()
        self.assertTrue(self.registry.stopped.wait(BOUND_SECONDS))
        second_clone = self.another_clone("second")
        second = self.start(clone=second_clone)
        self.assertIn("waiting", second.stderr.readline())
        self.registry.stop_after = None
        self.registry.release.set()
        for process in (first, second):
            _, said = process.communicate(timeout=BOUND_SECONDS)
            self.assertEqual(process.returncode, 0, said)
        self.assert_whole()
        self.assert_whole(second_clone)
        self.assertEqual(self.registry.asked_for(TORCH), [None, "bytes=1000-"])


class Damage(Scene):
    def setUp(self):
        super().setUp()
        self.bring_wheels()
        self.succeed()
        self.bring_wheels()

    def test_a_truncated_library_is_made_again(self):
        os.truncate(self.layout / "lib/libtorch_cpu.so", 1000)
        said = self.succeed()
        self.assertIn("1,000 bytes of lib/libtorch_cpu.so where 512,000 belong", said)
        self.assert_whole()

    def test_a_missing_header_is_noticed(self):
        (self.layout / "include/ATen/ATen.h").unlink()
        self.assertIn("lacks include/ATen/ATen.h", self.succeed())
        self.assertTrue((self.layout / "include/ATen/ATen.h").exists())

    def test_a_folder_without_its_marker_is_not_used(self):
        (self.layout / "complete").unlink()
        self.assertIn("is not complete", self.succeed())
        self.assertTrue((self.layout / "complete").exists())

    def test_other_pins_make_it_again(self):
        body = wheel("torch", "2.11.0", {**members_of(self.registry.files[TORCH]), "torch/include/new.h": b"new"})
        self.registry.files[TORCH] = body
        self.bring_wheels()
        pins = f"cpu,cuda {len(body)} {hashlib.sha256(body).hexdigest()} {TORCH}\n"
        (self.clone / "scripts/libtorch-wheels.txt").write_text(pins)
        self.assertIn("was made from other files", self.succeed())
        self.assertTrue((self.layout / "include/new.h").exists())

    def test_what_a_killed_run_left_behind_is_cleared(self):
        left = self.shelf / ".2.11.0-cpu.abc.tmp"
        (left / "lib").mkdir(parents=True)
        (self.layout / "complete").write_text(json.dumps({"sources": {}, "files": {}}))
        self.succeed()
        self.assertFalse(left.exists())
        self.assert_whole()


class Choosing(Scene):
    def test_cuda_keeps_the_layout_of_site_packages(self):
        self.bring_wheels()
        self.succeed(arguments=(), FINETUNED_LIBTORCH="cuda")
        layout = self.shelf / "2.11.0-cuda13"
        self.assertEqual(os.readlink(self.clone / ".libtorch"), str(layout / "torch"))
        self.assertEqual((layout / "torch/lib/libtorch_cuda.so").read_bytes(), b"cuda")
        self.assertEqual((layout / "torch/lib/libtorch.so").read_bytes(), b"needs libtorch_cuda.so")
        self.assertEqual((layout / "nvidia/cu13/lib/libcupti.so.13").read_bytes(), b"cupti")
        self.assertEqual((layout / "torch/build-version").read_text(), "2.11.0\n")
        self.assertFalse((layout / "torch/lib/libtorch_python.so").exists())
        self.assertFalse((layout / "nvidia/cu13/lib/libcudart_static.a").exists())

    def test_the_layout_follows_the_request_and_then_the_driver(self):
        chosen = lambda asked, driver: torchlib.choose(asked, driver).name
        self.assertEqual(chosen("", None), "cpu")
        self.assertEqual(chosen("", 580), "cuda")
        with contextlib.redirect_stderr(io.StringIO()) as said:
            self.assertEqual(chosen("", 535), "cpu")
        self.assertIn("release 535", said.getvalue())
        self.assertEqual(chosen("cpu", 580), "cpu")
        self.assertEqual(chosen("cuda", None), "cuda")
        with self.assertRaisesRegex(torchlib.Refused, "cpu, cuda, auto"):
            chosen("rocm", None)

    def test_another_platform_is_told_to_set_libtorch(self):
        torchlib.refuse_platform("Linux", "x86_64")
        for platform in (("Linux", "aarch64"), ("Darwin", "arm64")):
            with self.assertRaisesRegex(torchlib.Refused, "set LIBTORCH"):
                torchlib.refuse_platform(*platform)

    def test_a_folder_in_the_place_of_the_link_is_not_touched(self):
        self.bring_wheels()
        (self.clone / ".libtorch").mkdir()
        self.assertIn("is not a link", self.refuse())


class OwnLibtorch(Scene):
    def make_own(self, version_file, text):
        own = self.folder / "own"
        for name in ("include/torch/csrc/api/include/torch", "lib"):
            (own / name).mkdir(parents=True)
        (own / "include/torch/csrc/api/include/torch/torch.h").write_text("")
        for name in ("libc10.so", "libtorch_cpu.so", "libtorch.so"):
            (own / "lib" / name).write_text("")
        (own / version_file).write_text(text)
        return own

    def test_the_archive_layout_is_linked_and_nothing_is_fetched(self):
        own = self.make_own("build-version", "2.11.0+cpu\n")
        self.succeed(arguments=(), LIBTORCH=str(own))
        self.assertEqual(os.readlink(self.clone / ".libtorch"), str(own))
        self.assertEqual(self.registry.requests, [])
        self.assertFalse(self.shelf.exists())

    def test_the_python_layout_is_linked(self):
        own = self.make_own("version.py", "__version__ = '2.11.0+cu130'\n")
        self.succeed(arguments=(), LIBTORCH=str(own))
        self.assertEqual(os.readlink(self.clone / ".libtorch"), str(own))

    def test_another_version_is_refused(self):
        own = self.make_own("build-version", "2.9.1\n")
        self.assertIn("is libtorch 2.9.1, and this program is built for 2.11.0", self.refuse(LIBTORCH=str(own)))
        self.assertFalse((self.clone / ".libtorch").is_symlink())

    def test_half_a_libtorch_is_refused(self):
        own = self.make_own("build-version", "2.11.0\n")
        (own / "lib/libtorch_cpu.so").unlink()
        self.assertIn("lacks lib/libtorch_cpu.so", self.refuse(LIBTORCH=str(own)))

    def test_a_folder_that_is_not_a_libtorch_is_refused(self):
        self.assertIn("is not a libtorch", self.refuse(LIBTORCH=str(self.folder)))

    def test_programs_that_are_built_need_no_headers(self):
        own = self.make_own("version.py", "__version__ = '2.11.0+cu130'\n")
        shutil.rmtree(own / "include")
        self.assertIn("lacks include/", self.refuse(LIBTORCH=str(own)))
        link = self.folder / "installed/libtorch"
        link.parent.mkdir()
        self.succeed(arguments=("--link", str(link)), LIBTORCH=str(own))
        self.assertEqual(os.readlink(link), str(own))
        self.assertFalse((self.clone / ".libtorch").is_symlink())

    def test_the_link_itself_is_not_a_request(self):
        self.bring_wheels()
        self.succeed(LIBTORCH=str(self.clone / ".libtorch"))
        self.assert_whole()


class Pins(unittest.TestCase):
    def test_the_list_names_every_wheel_once_with_a_whole_hash(self):
        pins = read_pins(SCRIPTS / "libtorch-wheels.txt")
        cpu = [wheel.project for wheel in pins if "cpu" in wheel.layouts]
        self.assertEqual(sorted(cpu), ["nvidia-cuda-cupti", "nvidia-cuda-runtime", "torch"])
        self.assertEqual(len({wheel.project for wheel in pins}), len(pins))
        for wheel in pins:
            self.assertRegex(wheel.sha256, r"^[0-9a-f]{64}$")
            self.assertIn("x86_64", wheel.file)
            self.assertIn("cuda", wheel.layouts)


def members_of(body):
    """The files in a wheel (name to bytes), without its metadata."""
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        return {name: archive.read(name) for name in archive.namelist() if ".dist-info/" not in name}


if __name__ == "__main__":
    unittest.main()
