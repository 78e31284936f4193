"""The programs and their libtorch as they lie in an image: /opt/finetuned, and the licences in /usr/share/doc.

The build stages of the Dockerfiles call this, and so does `scripts/rootfs`: what goes into an image is what was tried. Needs no more than
Python 3.9.
"""

import shutil
from pathlib import Path

from problem import Problem
from programs import ROOT, place_programs

HOME = "opt/finetuned"
LICENCES = ("LICENSE-MIT", "LICENSE-APACHE")


def main(arguments):
    if len(arguments) != 1:
        raise Problem("needs one argument, the folder to fill")
    stage(Path(arguments[0]))


def stage(folder):
    """Fills `folder`, which must be absent or empty, with what an image holds beside its distribution."""
    if folder.exists() and any(folder.iterdir()):
        raise Problem(f"{folder} is not empty: name a new folder")
    home = folder / HOME
    place_programs(home / "bin")
    place(linked(), home)
    doc = folder / "usr/share/doc/finetuned"
    doc.mkdir(parents=True)
    for name in LICENCES:
        shutil.copyfile(ROOT / name, doc / name)


def place(torch, home):
    """The libraries only, without the headers. Those of CUDA find each other by their places in site-packages, which they keep."""
    if kind(torch) == "cuda":
        copy_libraries(torch / "lib", home / "cuda/torch/lib")
        for libraries in sorted((torch.parent / "nvidia").glob("*/lib")):
            copy_libraries(libraries, home / "cuda/nvidia" / libraries.parent.name / "lib")
        (home / "libtorch").symlink_to("cuda/torch")
    else:
        copy_libraries(torch / "lib", home / "libtorch/lib")


def linked():
    """The libtorch that this clone's link leads to."""
    torch = (ROOT / ".libtorch").resolve()
    if not (torch / "lib").is_dir():
        raise Problem("there is no libtorch: run `make libtorch`")
    return torch


def kind(torch):
    return "cuda" if (torch.parent / "nvidia").is_dir() else "cpu"


def copy_libraries(source, target):
    target.mkdir(parents=True)
    for library in sorted(source.glob("*.so*")):
        shutil.copyfile(library, target / library.name)
        (target / library.name).chmod(0o755)
