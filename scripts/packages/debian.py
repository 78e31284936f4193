"""The Debian package: what the tarball holds, in Debian's places, with the user and the unit.

libtorch is not in it, as NVIDIA's licence lets nobody pass on all of it. A package must not fetch while it is being installed, so
`finetuned-libtorch` does that afterwards, once.
"""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from programs import version

HOME = "usr/lib/finetuned"
DEPENDS = "libc6 (>= 2.35), libgcc-s1, libstdc++6 (>= 12), ca-certificates, python3 (>= 3.9), python3-pip, systemd"
CONTROL = """\
Package: finetuned
Version: {version}-1
Architecture: amd64
Maintainer: The authors of finetuned <finetuned@localhost>
Section: science
Priority: optional
Depends: {depends}
Installed-Size: {kibibytes}
Description: server that turns a folder of labelled images into a served classifier
 Upload an archive, submit a job, watch the loss fall, send an image and get
 its class. There is a REST API, a dashboard, and a command line.
 .
 Run finetuned-libtorch once after the installation.
"""
FETCH = """\
#!/bin/sh
# Fetches libtorch 2.11.0 for finetuned, or links the one that LIBTORCH names: run it as root, once.
set -eu
[ "$(id -u)" = 0 ] || { echo "finetuned-libtorch: needs root" >&2; exit 1; }
mkdir -p /var/lib/finetuned-libtorch
XDG_CACHE_HOME=/var/lib/finetuned-libtorch python3 -B /usr/lib/finetuned/setup/libtorch --link /var/lib/finetuned-libtorch/libtorch "$@"
/usr/lib/finetuned/bin/finetuned-worker devices >/dev/null
echo "Now: systemctl enable --now finetuned"
"""
SYSUSERS = 'u finetuned - "finetuned" /var/lib/finetuned /usr/sbin/nologin\n'
POSTINST = """\
#!/bin/sh
set -e
systemd-sysusers finetuned.conf
[ ! -d /run/systemd/system ] || systemctl daemon-reload
[ -e /var/lib/finetuned-libtorch/libtorch ] || echo "finetuned: run finetuned-libtorch once, as root; it fetches 544 MB"
"""
PRERM = """\
#!/bin/sh
set -e
[ ! -d /run/systemd/system ] || [ "$1" != remove ] || systemctl disable --now finetuned
"""
POSTRM = """\
#!/bin/sh
set -e
[ ! -d /run/systemd/system ] || systemctl daemon-reload
# The data in /var/lib/finetuned stays, as a database's does.
[ "$1" != purge ] || rm -rf /var/lib/finetuned-libtorch
"""


def make(release, out, date):
    """The path of the package in `out`. `release` is the folder that the tarball holds."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "root"
        lay_out(release, root)
        # dpkg-deb would keep times that are before the source's.
        for path in [root, *root.rglob("*")]:
            os.utime(path, (date, date), follow_symlinks=False)
        package = out / f"finetuned_{version()}-1_amd64.deb"
        command = ["dpkg-deb", "--root-owner-group", "-Zxz", "--build", root, package]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "SOURCE_DATE_EPOCH": str(date)})
    return package


def lay_out(release, root):
    home = root / HOME
    for name in ("bin", "setup"):
        shutil.copytree(release / name, home / name)
    (home / "libtorch").symlink_to("/var/lib/finetuned-libtorch/libtorch")
    shutil.copytree(release / "share", root / "usr/share/doc/finetuned")
    (root / "usr/bin").mkdir()
    (root / "usr/bin/finetuned").symlink_to("../lib/finetuned/bin/finetuned")
    unit = (release / "systemd/finetuned.service").read_text().replace("@PREFIX@", f"/{HOME}")
    write(root / "lib/systemd/system/finetuned.service", unit)
    write(root / "usr/share/doc/finetuned/gpu.conf", (release / "systemd/gpu.conf").read_text())
    write(root / "usr/lib/sysusers.d/finetuned.conf", SYSUSERS)
    write(root / "usr/sbin/finetuned-libtorch", FETCH, 0o755)
    for name, text in (("postinst", POSTINST), ("prerm", PRERM), ("postrm", POSTRM)):
        write(root / "DEBIAN" / name, text, 0o755)
    kibibytes = sum(path.lstat().st_size for path in root.rglob("*")) // 1024
    write(root / "DEBIAN/control", CONTROL.format(version=version(), depends=DEPENDS, kibibytes=kibibytes))
    for path in root.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
    root.chmod(0o755)


def write(path, text, mode=0o644):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
