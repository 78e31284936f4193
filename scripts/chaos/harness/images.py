"""Small PNG files and archives of them, generated here so that the scenarios need only Python."""

import io
import struct
import zipfile
import zlib

SIDE = 40


def png(kind, number, side=SIDE):
    """An image of one of several kinds that a network learns to distinguish in a few steps; every number gives a different one."""
    rows = bytearray()
    for y in range(side):
        rows.append(0)
        for x in range(side):
            grain = (x * 31 + y * 17 + number * 101) % 23
            lit = (x + number) % 8 < 4 if kind % 2 else (y + number) % 10 < 3
            bright = 200 if lit else 30
            rows += bytes((bright + grain, (bright // 2 + grain * (kind + 1)) % 256, 255 - bright - grain))
    # The number is written into the corner, because the grain repeats.
    rows[1:4] = struct.pack(">I", number)[1:]
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(rows), 1)) + chunk(b"IEND", b"")


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def archive(first, each, kinds=2, side=SIDE):
    """A zip of class folders with this many images each, numbered from `first`."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as out:
        for kind in range(kinds):
            for number in range(first, first + each):
                # A fixed time, so that the same numbers give the same bytes.
                out.writestr(zipfile.ZipInfo(f"kind-{kind}/{number:06}.png"), png(kind, number, side))
    return file.getvalue()
