"""What a release consists of, in target/packages: the tarball, the Debian package, the bill of materials, and the checksums of them all.

The same programs and the same commit give the same bytes: entries are sorted and belong to user 0, and every time is that of the commit.
"""

import gzip
import hashlib
import io
import shutil
import tarfile
import tempfile
from pathlib import Path

import debian
import sbom
from programs import ROOT, place_programs, version
from source_date import source_date
from stage import LICENCES

OUT = ROOT / "target/packages"
FILES = Path(__file__).resolve().parent / "files"
# How an installed finetuned gets its libtorch: what clones use, unchanged.
SETUP = ("libtorch", "torchlib.py", "cachedir.py", "wheels.py", "libtorch-wheels.txt")
DOCUMENTS = ("README.md", "CHANGELOG.md", "openapi.yaml")


def main(_):
    OUT.mkdir(parents=True, exist_ok=True)
    date = source_date()
    name = f"finetuned-{version()}-x86_64-linux"
    made = [OUT / f"{name}.tar.gz", OUT / f"{name}.cdx.json"]
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / name
        lay_out(root, sbom.describe(date))
        shutil.copyfile(root / "share/finetuned.cdx.json", made[1])
        made[0].write_bytes(tarball(root, date))
        if shutil.which("dpkg-deb"):
            made.append(debian.make(root, OUT, date))
        else:
            print("no Debian package: dpkg-deb is not installed")
    sums = "".join(f"{sha256(path)}  {path.name}\n" for path in sorted(made))
    (OUT / "SHA256SUMS").write_text(sums)
    print(f"in {OUT}:\n{sums}", end="")


def lay_out(root, bill):
    """Fills the folder that the tarball holds."""
    place_programs(root / "bin")
    for folder in ("setup", "systemd", "share/docs"):
        (root / folder).mkdir(parents=True)
    for name in SETUP:
        shutil.copy(ROOT / "scripts" / name, root / "setup" / name)
    for name in ("finetuned.service", "gpu.conf"):
        shutil.copy(FILES / name, root / "systemd" / name)
    shutil.copy(FILES / "install.sh", root / "install.sh")
    for name in (*LICENCES, *DOCUMENTS):
        shutil.copy(ROOT / name, root / "share" / name)
    for document in sorted((ROOT / "docs").iterdir()):
        shutil.copy(document, root / "share/docs" / document.name)
    (root / "share/finetuned.cdx.json").write_text(bill)
    files = sorted(path for path in root.rglob("*") if path.is_file())
    sums = "".join(f"{sha256(path)}  {path.relative_to(root)}\n" for path in files)
    (root / "SHA256SUMS").write_text(sums)


def tarball(root, date):
    """The bytes of a compressed tar of `root`, which depend on its files only."""
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=date) as compressed:
        with tarfile.open(mode="w", fileobj=compressed, format=tarfile.GNU_FORMAT) as archive:
            for path in sorted([root, *root.rglob("*")]):
                entry = archive.gettarinfo(path, str(path.relative_to(root.parent)))
                entry.uid = entry.gid = 0
                entry.uname = entry.gname = "root"
                entry.mtime = date
                entry.mode = mode_of(path)
                with open(path, "rb") if path.is_file() else io.BytesIO() as content:
                    archive.addfile(entry, content)
    return packed.getvalue()


def mode_of(path):
    """Whatever the umask was: for everybody to read, and to run where its owner may."""
    return 0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()
