"""The two programs as they lie in every package: stripped, and with a run path that holds wherever the package is unpacked.

What cargo builds has the run path of the builder's own libtorch (build.rs), which is right in a clone and names somebody's home everywhere
else. In a package the worker looks for `libtorch` beside its folder `bin`; the server needs no libtorch. `LD_LIBRARY_PATH`, which the server
passes on to its workers, comes before both.
"""

import re
import shutil
import subprocess
from pathlib import Path

from environments import patchelf
from problem import Problem

ROOT = Path(__file__).resolve().parent.parent.parent
BUILT = ROOT / "target/release"
SERVER, WORKER = "finetuned", "finetuned-worker"
RUN_PATH = "$ORIGIN/../libtorch/lib"


def place_programs(folder):
    """Puts both programs into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (SERVER, WORKER):
        if not (BUILT / name).is_file():
            raise Problem(f"there is no {BUILT / name}: run `make build`")
        if is_unstripped(BUILT / name):
            raise Problem(f"{BUILT / name} has a symbol table: build it with cargo's profile `release`, which strips it (`make build`)")
        shutil.copyfile(BUILT / name, folder / name)
        (folder / name).chmod(0o755)
    # Removing a run path alone leaves its text in the file; a shorter one overwrites it.
    change(folder / SERVER, "--set-rpath", "/")
    change(folder / SERVER, "--remove-rpath")
    change(folder / WORKER, "--set-rpath", RUN_PATH)


def is_unstripped(program):
    listing = subprocess.run(["readelf", "--section-headers", "--wide", program], check=True, stdout=subprocess.PIPE, text=True)
    return any(name in listing.stdout for name in (" .symtab ", " .debug_info "))


def change(program, *arguments):
    subprocess.run([patchelf(), *arguments, program], check=True)


def version():
    return re.search(r'^version = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)[1]
