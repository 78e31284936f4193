"""The Python wheel of the two programs, in target/packages, for people who live there: `pip install` it, and `finetuned serve` runs.

It holds no Python but `launch.py`, which finds a libtorch for the worker, and what clones fetch one with. Its platform tag says the oldest
glibc that both programs run with, as their symbols demand.
"""

import os
import re
import tempfile
import time
import zipfile
from pathlib import Path

import release
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection
from problem import Problem
from programs import ROOT, SERVER, WORKER, place_programs, version
from source_date import source_date
from stage import LICENCES
from wheel.wheelfile import WheelFile

METADATA = """\
Metadata-Version: 2.4
Name: finetuned
Version: {version}
Summary: A self-hosted server that turns a folder of labelled images into a served classifier
License-Expression: MIT OR Apache-2.0
{licences}
Requires-Python: >=3.9
Requires-Dist: pip
Provides-Extra: torch
Requires-Dist: torch==2.11.0; extra == "torch"
Description-Content-Type: text/markdown

"""
ENTRY_POINTS = """\
[console_scripts]
finetuned = finetuned.launch:server
finetuned-worker = finetuned.launch:worker
"""


def main(_):
    release.OUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        programs = Path(scratch)
        place_programs(programs)
        tag = f"py3-none-manylinux_{'_'.join(map(str, oldest_glibc(programs)))}_x86_64"
        path = release.OUT / f"finetuned-{version()}-{tag}.whl"
        write(path, tag, programs, source_date())
    print(f"{release.sha256(path)}  {path}")


def write(path, tag, programs, date):
    info = f"finetuned-{version()}.dist-info"
    path.unlink(missing_ok=True)
    # WheelFile asks for it when it adds the list of files.
    os.environ["SOURCE_DATE_EPOCH"] = str(date)
    with WheelFile(path, "w", compression=zipfile.ZIP_DEFLATED) as archive:

        def put(name, content, mode=0o644):
            entry = zipfile.ZipInfo(name, time.gmtime(date)[:6])
            entry.external_attr = (0o100000 | mode) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)

        put("finetuned/__init__.py", '"""The programs of finetuned, and how they find libtorch."""\n')
        put("finetuned/__main__.py", "from .launch import server\n\nserver()\n")
        put("finetuned/launch.py", (release.FILES / "launch.py").read_bytes())
        for name in sorted(set(release.SETUP) - {"libtorch"}):
            put(f"finetuned/setup/{name}", (ROOT / "scripts" / name).read_bytes())
        for name in (SERVER, WORKER):
            put(f"finetuned/bin/{name}", (programs / name).read_bytes(), 0o755)
        for name in LICENCES:
            put(f"{info}/licenses/{name}", (ROOT / name).read_bytes())
        licences = "\n".join(f"License-File: {name}" for name in LICENCES)
        put(f"{info}/METADATA", METADATA.format(version=version(), licences=licences) + (ROOT / "README.md").read_text())
        put(f"{info}/WHEEL", f"Wheel-Version: 1.0\nGenerator: finetuned\nRoot-Is-Purelib: false\nTag: {tag}\n")
        put(f"{info}/entry_points.txt", ENTRY_POINTS)


def oldest_glibc(programs):
    """The newest version of glibc that a symbol of either program comes from, such as (2, 35)."""
    found = set()
    for name in (SERVER, WORKER):
        with open(programs / name, "rb") as file:
            sections = ELFFile(file).iter_sections()
            for section in sections:
                if isinstance(section, GNUVerNeedSection):
                    found |= {symbol.name for _, symbols in section.iter_versions() for symbol in symbols}
    versions = [re.fullmatch(r"GLIBC_(\d+)\.(\d+)(?:\.\d+)?", name) for name in found]
    if not any(versions):
        raise Problem("the programs use no symbols of glibc: they cannot be those that cargo builds for x86_64-unknown-linux-gnu")
    return max((int(one[1]), int(one[2])) for one in versions if one)
