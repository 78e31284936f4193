"""Random valid archives of Python's own making, and what Python reads in them: `archives.py FOLDER SEED ZIPS TARS`.

The same seed gives the same archives. `expected.json` names the regular files of each in their order, with the SHA-256 of their contents,
as zipfile and tarfile read them back. A test of the worker holds its own reading to that.
"""

import gzip
import hashlib
import io
import json
import random
import sys
import tarfile
import zipfile
from pathlib import Path

LETTERS = "abcdefghijklmnopqrstuvwxyzABC0123456789 _-()%~+'éüßñøЖΩ日本語한국어🐝"


class Unseekable(io.RawIOBase):
    """What a pipe is to a writer of archives: sizes come after the data, in a descriptor."""

    def __init__(self, inner):
        self.inner = inner

    def writable(self):
        return True

    def write(self, data):
        return self.inner.write(data)


def name(rng, longest):
    parts = ["".join(rng.choices(LETTERS, k=rng.randint(1, 12))).strip() or "x" for _ in range(rng.randint(1, 4))]
    path = "/".join(parts)
    while len(path.encode()) > longest:
        path = path[:-1].rstrip("/ ")
    return path


def names(rng, longest=400):
    """Different ones, none of which is a folder of another."""
    found = set()
    for number in range(rng.randint(1, 25)):
        path = f"{name(rng, longest - 12)}-{number}.jpg"
        if rng.random() < 0.1 and longest > 200:
            path = f"{'long' * rng.randint(25, 60)}/{path}"[-longest:].lstrip("/ ")
        found.add(path)
    return sorted(found, key=lambda _: rng.random())


def data(rng):
    size = rng.choice((0, 1, 511, 512, 513, rng.randint(2, 6000)))
    if rng.random() < 0.5:
        return rng.randbytes(size)
    return bytes(rng.choices(b"abc", k=size))


def write_zip(rng, path):
    out = io.BytesIO()
    kind = rng.choice(("plain", "plain", "streamed", "prefixed", "shifted"))
    prefix = b"PK\3\4" + rng.randbytes(rng.randint(26, 300))
    if kind == "prefixed":
        out.write(prefix)
    target = Unseekable(out) if kind == "streamed" else out
    with zipfile.ZipFile(target, "a" if kind == "prefixed" else "w") as archive:
        for entry in names(rng):
            info = zipfile.ZipInfo(entry, (2020, 1, 1 + rng.randint(0, 27), 0, 0, 0))
            info.compress_type = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
            info.external_attr = rng.choice((0, 0o100644 << 16, 0o104755 << 16))
            info.comment = rng.randbytes(rng.choice((0, 0, 9)))
            with archive.open(info, "w", force_zip64=rng.random() < 0.3) as file:
                file.write(data(rng))
        if rng.random() < 0.3:
            archive.writestr(zipfile.ZipInfo(f"{name(rng, 100)}/"), b"")
        if rng.random() < 0.3:
            archive.comment = "".join(rng.choices(LETTERS, k=rng.randint(1, 300))).encode()
    path.write_bytes((prefix if kind == "shifted" else b"") + out.getvalue())


def write_tar(rng, path):
    form = rng.choice((tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT))
    out = io.BytesIO()
    common = {"comment": "of all"} if form == tarfile.PAX_FORMAT and rng.random() < 0.3 else None
    with tarfile.open(fileobj=out, mode="w", format=form, pax_headers=common) as archive:
        for entry in names(rng, 100 if form == tarfile.USTAR_FORMAT else 400):
            info = tarfile.TarInfo(entry)
            info.mtime = rng.choice((0, 1_700_000_000, 1_700_000_000.25 if form == tarfile.PAX_FORMAT else 7))
            info.mode = rng.choice((0o644, 0o4755))
            info.uname = rng.choice(("", "jürgen" if form != tarfile.USTAR_FORMAT else "ann"))
            if form == tarfile.PAX_FORMAT and rng.random() < 0.2:
                info.pax_headers = {"SCHILY.xattr.user.note": "a line\n12 path=evil\nand another"}
            kind = rng.random()
            if kind < 0.85:
                content = data(rng)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
                continue
            info.type = rng.choice((tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE))
            info.linkname = "elsewhere" if info.type in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
            archive.addfile(info)
    whole = out.getvalue()
    if rng.random() < 0.5:
        path.write_bytes(whole)
        return
    cuts = sorted(rng.sample(range(len(whole)), rng.choice((0, 1, 4))))
    members = [whole[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(whole)])]
    packed = b"".join(gzip.compress(member, rng.randint(1, 9), mtime=0) for member in members)
    path.write_bytes(packed + bytes(rng.choice((0, 0, 700))))


def read_zip(path):
    with zipfile.ZipFile(path) as archive:
        return [(info.filename, archive.read(info)) for info in archive.infolist() if not info.is_dir()]


def read_tar(path):
    with tarfile.open(path) as archive:
        return [(member.name, archive.extractfile(member).read()) for member in archive if member.isreg()]


def main():
    folder, (seed, zips, tars) = Path(sys.argv[1]), map(int, sys.argv[2:])
    expected = {}
    for number in range(zips + tars):
        rng = random.Random(f"{seed}/{number}")
        write, read = (write_zip, read_zip) if number < zips else (write_tar, read_tar)
        path = folder / f"{number:03}"
        write(rng, path)
        expected[path.name] = [(entry, hashlib.sha256(content).hexdigest()) for entry, content in read(path)]
    (folder / "expected.json").write_text(json.dumps(expected))


if __name__ == "__main__":
    main()
