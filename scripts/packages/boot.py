"""Installs a release in a Debian that is booted for it, with systemd in a container: whether the unit's limits leave the server what it needs
shows only there. `files/booted.sh` runs in it. Needs root, mmdebstrap and systemd-nspawn, Debian's archive, and a release in target/packages.
"""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import release
from problem import Problem
from programs import version
from stage import linked

NEEDED = {"mmdebstrap": "mmdebstrap", "systemd-nspawn": "systemd-container"}
# Beside the essential packages: what the Debian package depends on, and what boots.
PACKAGES = "systemd,systemd-sysv,dbus,python3,python3-pip,ca-certificates,libstdc++6"
SECONDS = 600
UNIT = """\
[Service]
Type=oneshot
ExecStart=/bin/sh -c '/bin/bash /root/booted.sh >/root/result.txt 2>&1; systemctl poweroff --no-block'
[Install]
WantedBy=multi-user.target
"""


def main(arguments):
    if arguments:
        raise Problem("takes no arguments")
    if os.geteuid() != 0:
        raise Problem("needs root, as it boots a container")
    for program, package in NEEDED.items():
        if not shutil.which(program):
            raise Problem(f"needs {program} (Debian: apt-get install {package})")
    made = [release.OUT / f"finetuned-{version()}-x86_64-linux.tar.gz", release.OUT / f"finetuned_{version()}-1_amd64.deb"]
    for path in made:
        if not path.exists():
            raise Problem(f"there is no {path}: run `make release`")
    with tempfile.TemporaryDirectory(prefix="finetuned-boot-") as scratch:
        root = Path(scratch) / "root"
        print("a Debian that boots", flush=True)
        subprocess.run(["mmdebstrap", "--quiet", "--variant=minbase", f"--include={PACKAGES}", "bookworm", root], check=True)
        for path in (*made, release.FILES / "booted.sh"):
            shutil.copy(path, root / "root")
        (root / "srv/libtorch").mkdir()
        (root / "etc/systemd/system/booted.service").write_text(UNIT)
        wanted = root / "etc/systemd/system/multi-user.target.wants"
        wanted.mkdir(exist_ok=True)
        (wanted / "booted.service").symlink_to("/etc/systemd/system/booted.service")
        told = boot(root)
    print(told, end="")
    return 0 if told.endswith("works\n") else 1


def boot(root):
    """What `booted.sh` printed."""
    command = ["systemd-nspawn", "--boot", "--private-network", "--register=no", "--keep-unit", f"--directory={root}"]
    command += [f"--bind-ro={linked()}:/srv/libtorch", "--console=pipe"]
    try:
        log = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SECONDS).stdout
    except subprocess.TimeoutExpired as late:
        raise Problem(f"it was not done in {SECONDS} seconds; the end of the console: {(late.stdout or b'')[-2000:].decode(errors='replace')}")
    result = root / "root/result.txt"
    return result.read_text() if result.exists() else f"it did not boot; the end of the console:\n{log[-2000:].decode(errors='replace')}\n"
