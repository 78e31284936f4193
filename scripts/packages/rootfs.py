"""An image as a plain folder: the base from Debian's archive, then the steps of the Dockerfile's last stage, by chroot.

Where no container engine runs, this shows that what goes into the image is whole. The build stage is not repeated: `stage.py`, which it
ends with, lays out the programs of target/release instead. Needs root, mmdebstrap, and Debian's archive.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from image import last_stage
from problem import Problem
from programs import ROOT
from stage import kind, linked, stage

SUITES = {"debian:12-slim": "bookworm"}
NEEDED = {"mmdebstrap": "mmdebstrap", "unshare": "util-linux", "chroot": "coreutils", "ip": "iproute2"}
# Of the machine that it is built on, for apt in the folder.
LENT = ("/etc/resolv.conf",)


def main(arguments):
    parser = argparse.ArgumentParser(prog="scripts/rootfs", description="Build the last stage of a Dockerfile into a folder.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--dockerfile", type=Path, default=ROOT / "docker/Dockerfile")
    parser.add_argument("--base", type=Path, help="a tar of the base, instead of Debian's archive")
    parser.add_argument("--try", dest="tried", action="store_true", help="then start the server in it, upload, train and predict")
    options = parser.parse_args(arguments)
    if os.geteuid() != 0:
        raise Problem("needs root, as it makes file systems and users of its own")
    for program, package in NEEDED.items():
        if not shutil.which(program):
            raise Problem(f"needs {program} (Debian: apt-get install {package})")
    image = last_stage(options.dockerfile)
    if kind(linked()) != image.libtorch:
        raise Problem(f"{options.dockerfile} is for {image.libtorch}, and .libtorch is not: run `FINETUNED_LIBTORCH={image.libtorch} make build`")
    build(image, options.folder.absolute(), options.base)
    if options.tried:
        return try_out(options.dockerfile, options.folder.absolute())


def build(image, folder, base):
    if folder.exists() and any(folder.iterdir()):
        raise Problem(f"{folder} is not empty: name a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    if base:
        print(f"FROM {base}", flush=True)
        subprocess.run(["tar", "--extract", "--file", base, "--directory", folder], check=True)
    elif image.base in SUITES:
        print(f"FROM {image.base}: Debian's {SUITES[image.base]}", flush=True)
        subprocess.run(["mmdebstrap", "--quiet", "--variant=minbase", SUITES[image.base], folder], check=True)
    else:
        raise Problem(f"does not know the base {image.base}: add it to SUITES in scripts/packages/rootfs.py")
    for step in image.steps:
        print(step[0], step[1], flush=True)
        run(folder, step[1]) if step[0] == "RUN" else copy(folder, *step[1:])


def run(folder, line):
    """A command line by the folder's own shell, in mounts of its own, with the network's settings of this machine."""
    lent = " && ".join(f"touch {folder}{path} && mount --bind {path} {folder}{path}" for path in LENT)
    mounts = f"mount -t proc proc {folder}/proc && {lent}"
    environment = {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
    environment |= {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive"}
    inside = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-euc", f'{mounts} && exec chroot {folder} /bin/sh -c "$1"', "sh", line]
    subprocess.run(inside, check=True, env=environment)


def copy(folder, paths, from_build):
    *sources, target = paths
    place = folder / target.lstrip("/")
    with tempfile.TemporaryDirectory() as scratch:
        for source in sources:
            if from_build:
                stage(Path(scratch) / "stage")
                source = f"{scratch}/stage/."
            else:
                source = ROOT / source
            place.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", "--recursive", "--no-dereference", "--preserve=mode,links", source, place], check=True)


def try_out(dockerfile, folder):
    """`trial.py` in namespaces of its own: it sees no network but its own loopback, no process but its own, and mounts nothing here."""
    trial = Path(__file__).resolve().with_name("trial.py")
    alone = ["unshare", "--mount", "--pid", "--net", "--ipc", "--uts", "--fork", "--kill-child"]
    return subprocess.run([*alone, sys.executable, "-B", trial, dockerfile, folder]).returncode
