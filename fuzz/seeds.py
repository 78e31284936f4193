#!/usr/bin/env python3
"""Writes what the fuzz targets begin with, as text, into fuzz/seeds: `seeds.py` of a Python with Pillow (13.0 was used).

Every file is a whole small archive or image of a kind that is taken: from there a fuzzer gets further than from nothing. Files that were
put there by hand, inputs that once broke a target, stay.
"""

import gzip
import io
import struct
import tarfile
import zipfile
from pathlib import Path

from PIL import Image

SEEDS = Path(__file__).resolve().parent / "seeds"
LAYOUTS = {
    "splits": "train/ants/1.bmp\ntrain/bees/2.bmp\nval/ants/3.bmp\nval/bees/4.bmp\n",
    "wrapped": "a/b/Training/ants/1.bmp\na/b/Training/bees/2.bmp\na/b/Validation/ants/3.bmp\na/b/TEST/bees/4.bmp\n",
    "flat": "ants/1.bmp\nants/2.bmp\nbees/deep/er/3.bmp\nbees/4.bmp\n__MACOSX/ants/._1.bmp\nThumbs.db\n",
    "unlabelled": "images/1.bmp\nimages/2.bmp\n3.bmp\n",
    "test-only": "test/test/ants/1.bmp\ntest/test/bees/2.bmp\nREADME.bmp\n",
    "unicode": "train/caf\u00e9/1.bmp\ntrain/cafe\u0301/2.bmp\ntrain/yes/3.bmp\nval/no/4.bmp\n",
    "manifest": "labels.csv\nimages/1.bmp\nimages/2.bmp\n",
    "escapes": "ants/1.bmp\n..\\x/2.bmp\nC:/3.bmp\n%2e%2e/4.bmp\nants/\u202e5.bmp\n",
}


class Unseekable(io.RawIOBase):
    def __init__(self, inner):
        self.inner = inner

    def writable(self):
        return True

    def write(self, data):
        return self.inner.write(data)


def picture(form, size=(2, 2), mode="RGB", **options):
    out = io.BytesIO()
    Image.new(mode, size, 90 if mode in ("L", "P") else None).save(out, form, **options)
    return out.getvalue()


BMP = picture("BMP", (1, 1))
FILES = {"ants/1.bmp": BMP, "bees/2.bmp": BMP}


def zipped(target, method, zip64=False, comment=b""):
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in FILES.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            with archive.open(info, "w", force_zip64=zip64) as file:
                file.write(data)
        archive.comment = comment


def in_zip(method, streamed=False, **options):
    out = io.BytesIO()
    zipped(Unseekable(out) if streamed else out, method, **options)
    return out.getvalue()


def in_tar(form, name="ants/1.bmp"):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        info = tarfile.TarInfo(name)
        info.size = len(BMP)
        archive.addfile(info, io.BytesIO(BMP))
    # One block of zeros ends it just as well as twenty.
    return out.getvalue().rstrip(b"\0") + bytes(1024)


def archives():
    long = "ants/" + "long" * 30 + ".bmp"
    yield "zip-stored", in_zip(zipfile.ZIP_STORED)
    yield "zip-deflated", in_zip(zipfile.ZIP_DEFLATED, comment=b"hello")
    yield "zip-streamed", in_zip(zipfile.ZIP_DEFLATED, streamed=True)
    yield "zip64", in_zip(zipfile.ZIP_STORED, zip64=True)
    yield "tar-ustar", in_tar(tarfile.USTAR_FORMAT)
    yield "tar-gnu", in_tar(tarfile.GNU_FORMAT, long)
    yield "tar-pax", in_tar(tarfile.PAX_FORMAT, long)
    whole = in_tar(tarfile.USTAR_FORMAT)
    yield "tar-gz", gzip.compress(whole[:700], mtime=0) + gzip.compress(whole[700:], mtime=0)


def images():
    for form in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"):
        yield form.lower(), picture(form)
    yield "webp-lossless", picture("WEBP", lossless=True)
    yield "jpeg-progressive", picture("JPEG", (8, 8), progressive=True)
    yield "jpeg-cmyk", picture("JPEG", (8, 8), "CMYK")
    yield "png-grey-alpha", picture("PNG", (3, 3), "LA")
    yield "png-palette", picture("PNG", (3, 3), "P", bits=4)
    yield "png-bilevel", picture("PNG", (9, 3), "1")
    yield "png-deep", picture("PNG", (3, 3), "I;16")
    yield "tiff-packed", picture("TIFF", (9, 9), "L", compression="tiff_lzw")
    yield "tiff-ycbcr", picture("TIFF", (8, 8), "YCbCr", compression="jpeg")
    for compression in ("group3", "tiff_ccitt"):
        yield f"tiff-{compression}", picture("TIFF", (9, 5), "1", compression=compression)
    yield "tiff-two-dimensions", picture("TIFF", (9, 5), "1", compression="group3", tiffinfo={292: 1})
    for mode in ("1", "L", "RGB"):
        yield f"pnm-{mode.lower()}", picture("PPM", (3, 3), mode)
    yield "jpeg2000", picture("JPEG2000", (8, 8))
    yield "jpeg2000-bare", picture("JPEG2000", (8, 8), "L", no_jp2=True)
    yield "dicom", dicom("1.2.840.10008.1.2.1", 12, bytes(8))
    yield "dicom-implicit", dicom("1.2.840.10008.1.2", 8, bytes(4))
    runs = bytes([1, 0, 0, 0, 64] + [0] * 59 + [253, 7])
    yield "dicom-runs", dicom("1.2.840.10008.1.2.5", 8, runs, encapsulated=True)
    yield "dicom-jpeg", dicom("1.2.840.10008.1.2.4.50", 8, picture("JPEG", (2, 2), "L"), encapsulated=True)
    yield "dicom-jpeg2000", dicom("1.2.840.10008.1.2.4.90", 8, picture("JPEG2000", (2, 2), "L", no_jp2=True), encapsulated=True)


def dicom(syntax, bits, pixels, encapsulated=False):
    """An image of 2 x 2 values with a window."""
    explicit = syntax != "1.2.840.10008.1.2"

    def element(group, number, kind, value, length=None):
        value += b"\0" * (len(value) % 2)
        length = len(value) if length is None else length
        head = struct.pack("<HH", group, number)
        if not explicit and group != 2:
            return head + struct.pack("<I", length) + value
        if kind == b"OW":
            return head + kind + b"\0\0" + struct.pack("<I", length) + value
        return head + kind + struct.pack("<H", length) + value

    def short(number, value):
        return element(0x28, number, b"US", struct.pack("<H", value))

    meta = element(2, 0x10, b"UI", syntax.encode())
    file = bytes(128) + b"DICM" + element(2, 0, b"UL", struct.pack("<I", len(meta))) + meta
    file += short(2, 1) + element(0x28, 4, b"CS", b"MONOCHROME2") + short(0x10, 2) + short(0x11, 2)
    file += short(0x100, 16 if bits > 8 else 8) + short(0x101, bits) + short(0x102, bits - 1) + short(0x103, 0)
    file += element(0x28, 0x1050, b"DS", b"40") + element(0x28, 0x1051, b"DS", b"400")
    if not encapsulated:
        return file + element(0x7FE0, 0x10, b"OW", pixels)
    pixels += b"\0" * (len(pixels) % 2)
    items = struct.pack("<HHI", 0xFFFE, 0xE000, 0) + struct.pack("<HHI", 0xFFFE, 0xE000, len(pixels)) + pixels
    return file + element(0x7FE0, 0x10, b"OW", items + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0), 0xFFFFFFFF)


def main():
    for target, seeds in (("archive", archives()), ("image", images())):
        for name, data in seeds:
            lines = [data[begin : begin + 32].hex() for begin in range(0, len(data), 32)]
            write(target, f"{name}.hex", "\n".join(lines) + "\n")
    for name, paths in LAYOUTS.items():
        write("layout", f"{name}.txt", paths)


def write(target, name, text):
    path = SEEDS / target / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


if __name__ == "__main__":
    main()
