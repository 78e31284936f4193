"""Which libtorch 2.11.0 a machine uses, and how it gets one: the user's own, or one that is extracted from pinned wheels.

`scripts/libtorch` calls this for a clone, an installed tarball and an image, and the programs' Python package when it starts them. What is
fetched goes into the user's cache, without the gigabytes of CUDA packages unless there is an NVIDIA driver that can use them. Needs
Python 3.9 with pip, and nothing else.
"""

import os
import platform
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

from cachedir import cache_root, damage, locked, put_in_place, say
from wheels import obtain, read_pins

VERSION = "2.11.0"
OLDEST_DRIVER = 580  # CUDA 13.0, which torch 2.11.0 is built for, needs release 580 or newer.
PINS = Path(__file__).resolve().parent / "libtorch-wheels.txt"
# What the worker needs to run, and what it needs to be built.
TO_RUN = ("lib/libc10.so", "lib/libtorch_cpu.so")
TO_BUILD = ("include/torch/csrc/api/include/torch/torch.h", *TO_RUN, "lib/libtorch.so")
DISK = "The CPU layout needs 1.1 GB of disk while it is unpacked, the CUDA one 6.5 GB; XDG_CACHE_HOME moves the cache"


class Refused(Exception):
    """Why it cannot be done; the message says what to do instead."""


class CpuLayout:
    """The subset of the wheels that the CPU needs: 500 MB instead of 5 GB."""

    name = "cpu"
    folder = f"{VERSION}-cpu"
    home = ""
    libraries = ("libc10.so", "libtorch_cpu.so", "libgomp.so.1")
    # libtorch_cpu.so in the registry's wheel loads these two CUDA libraries and no others.
    cuda_libraries = ("libcudart.so.13", "libcupti.so.13")

    def place(self, member):
        """The target path of a wheel's member, or None."""
        parent, _, base = member.rpartition("/")
        if member.startswith("torch/include/"):
            return member[len("torch/") :]
        if parent == "torch/lib" and base in self.libraries:
            return f"lib/{base}"
        if parent.endswith("/lib") and base in self.cuda_libraries:
            return f"lib/{base}"
        return None

    def finish(self, folder):
        # The wheel's own libtorch.so needs libtorch_cuda.so; a linker script replaces it with the CPU library.
        (folder / "lib/libtorch.so").write_text("INPUT(libtorch_cpu.so)\n")


class CudaLayout:
    """Everything a GPU needs, laid out as in site-packages: the libraries find each other by `$ORIGIN/../../nvidia/*/lib`."""

    name = "cuda"
    folder = f"{VERSION}-cuda13"
    home = "torch"

    def place(self, member):
        parent, _, base = member.rpartition("/")
        if member.startswith(("torch/include/", "torch/lib/")) and base != "libtorch_python.so":
            return member
        if member.startswith("nvidia/") and parent.endswith("/lib") and not base.endswith(".a"):
            return member
        return None

    def finish(self, folder):
        pass


def check_own(folder, needed):
    """The user's own libtorch, if it has the right version, in the layout of the official archive or of the Python package."""
    version = version_of(folder)
    if version is None:
        raise Refused(f"LIBTORCH={folder} is not a libtorch: it has neither a build-version file nor Python's version.py; unset it to fetch one")
    if version.split("+")[0] != VERSION:
        raise Refused(f"LIBTORCH={folder} is libtorch {version}, and this program is built for {VERSION}; name one of that version or unset it to fetch one")
    for name in needed:
        if not (folder / name).exists():
            raise Refused(f"LIBTORCH={folder} lacks {name}; name a complete libtorch {VERSION} or unset it to fetch one")
    return folder


def version_of(folder):
    """The version that a libtorch folder states, such as `2.11.0+cu130`."""
    if (folder / "build-version").is_file():
        return (folder / "build-version").read_text().strip()
    if (folder / "version.py").is_file():
        found = re.search(r"__version__\s*=\s*['\"]([^'\"]+)", (folder / "version.py").read_text())
        return found and found[1]
    return None


def choose(asked, driver):
    """The layout for what the user asked for (`cpu`, `cuda` or nothing) and the NVIDIA driver's release (or None)."""
    if asked == "cuda":
        return CudaLayout()
    if asked == "cpu":
        return CpuLayout()
    if asked not in ("", "auto"):
        raise Refused(f"FINETUNED_LIBTORCH={asked} is not one of cpu, cuda, auto")
    if driver is None:
        return CpuLayout()
    if driver < OLDEST_DRIVER:
        say(f"libtorch: the NVIDIA driver is release {driver}, and CUDA 13.0 needs {OLDEST_DRIVER} or newer: using the CPU layout (--cuda forces the other)")
        return CpuLayout()
    return CudaLayout()


def driver_release():
    """The major version of the NVIDIA driver, None without a driver."""
    try:
        text = Path("/proc/driver/nvidia/version").read_text()
    except OSError:
        text = ask_nvidia_smi()
    found = re.search(r"(?<![\w.])(\d{3,})\.\d+", text)
    return int(found[1]) if found else None


def ask_nvidia_smi():
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=20).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def cached(layout):
    """The folder of `layout` in the user's cache, created if it is missing or incomplete."""
    shelf = cache_root() / "libtorch"
    folder = shelf / layout.folder
    pins = [wheel for wheel in read_pins(PINS) if layout.name in wheel.layouts]
    sources = {wheel.file: wheel.sha256 for wheel in pins}
    if damage(folder, sources):
        refuse_platform(platform.system(), platform.machine())
        with locked(shelf / ".lock", "libtorch: another process is fetching it; waiting for that one"):
            reason = damage(folder, sources)
            if reason:
                say(f"libtorch {VERSION} ({layout.name}) {reason}: creating it in {folder}")
                make(layout, folder, pins, sources)
    return folder / layout.home


def refuse_platform(system, machine):
    if (system, machine) != ("Linux", "x86_64"):
        raise Refused(f"wheels are pinned for x86-64 Linux and this is {machine} {system}: set LIBTORCH to a libtorch {VERSION} for it")


def make(layout, folder, pins, sources):
    """Fetches what is missing, unpacks it beside `folder`, puts it in place, and drops the wheels."""
    downloads = folder.parent / "downloads"
    say(f"  {sum(wheel.bytes for wheel in pins) / 1e6:,.0f} MB in {len(pins)} wheels from the Python registry")
    paths = [obtain(wheel, downloads) for wheel in pins]
    say("  unpacking")
    put_in_place(folder, sources, lambda new: unpack(layout, paths, new))
    for path in paths:
        path.unlink()


def unpack(layout, paths, new):
    home = new / layout.home
    for path in paths:
        with zipfile.ZipFile(path) as wheel:
            for member in wheel.infolist():
                place = None if member.is_dir() else layout.place(member.filename)
                if place:
                    target = new / place
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with wheel.open(member) as source, open(target, "wb") as out:
                        shutil.copyfileobj(source, out, 1 << 20)
    layout.finish(new)
    (home / "build-version").write_text(f"{VERSION}\n")
    for name in TO_BUILD:
        if not (home / name).exists():
            raise Refused(f"the pinned wheels do not contain {name}")
