"""vioc.py - the binary interface as bytes: what include/vexfs_ioctl.h says, built and read by struct."""
import fcntl
import math
import os
import struct

MAGIC, HDR = 0x31584556, "<IHHIiII"
CAPS, PUT, GET, DEL, SEARCH, BPUT, BSEARCH, CCREATE, CDROP, CINFO, IBUILD, IREBUILD, IOPT, IINFO, STATS, SRESET, FLUSH, EXPORT = range(1, 19)
DIR_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
DURABLE, FREE, EXACT, STALE, WAIT, WVEC, WPAY, TEXT, LIKE = (1 << i for i in range(9))


def hdr(op, size, flags=0):
    return struct.pack(HDR, MAGIC, 1, op, size, 0, flags, 0)


def ioc(op, size):
    return 3 << 30 | size << 16 | ord("V") << 8 | op


def call(fd, msg, size=4096):
    b = bytearray(msg.ljust(size, b"\0"))
    fcntl.ioctl(fd, ioc(struct.unpack_from("<H", msg, 6)[0], size), b)
    n = struct.unpack_from("<I", b, 8)[0]
    return bytes(b[:n])


def pad8(b):
    return b + b"\0" * (-len(b) % 8)


def m_put(vec=b"", payload=b"", coll=b"", id=0, flags=0):
    data = pad8(vec) + payload
    return hdr(PUT, 136 + len(data), flags) + struct.pack("<64sQIIIIQ16x", coll, id, 136 if vec else 0, len(vec), 136 + len(pad8(vec)) if payload else 0, len(payload), 0) + data


def m_get(op=GET, coll=b"", id=0, flags=0):
    return hdr(op, 144, flags) + struct.pack("<64sQ", coll, id).ljust(120, b"\0")


def m_search(data=b"", k=10, ef=0, coll=b"", scope=b"", flags=0, min_score=-math.inf, filter=b"", text=b"", mode=0):
    body = pad8(data) + pad8(scope) + pad8(filter) + text
    fo = 176 + len(pad8(data)) + len(pad8(scope))
    return hdr(SEARCH, 176 + len(body), flags) + struct.pack("<64sIIIIIIfI", coll, k, ef, 176 if data else 0, len(data), 176 + len(pad8(data)) if scope else 0, len(scope), min_score, mode).ljust(136, b"\0") + struct.pack(
        "<IIII", fo if filter else 0, len(filter), fo + len(pad8(filter)) if text else 0, len(text)) + body


def results(b, off=120):
    at, n = struct.unpack_from("<II", b, off)
    out = []
    for i in range(n):
        id, score, dist, state, po, pb, vo, vb, yo, yb, _ = struct.unpack_from("<QffIIIIIIII", b, at + 48 * i)
        out.append((b[po:po + pb].decode() if pb else id, score, dist, state, b[vo:vo + vb], b[yo:yo + yb]))
    return out


def m_bsearch(vecs, k, coll=b"", flags=0):
    data = b"".join(vecs)
    return hdr(BSEARCH, 176 + len(data), flags) + struct.pack("<64sIIIIIf", coll, k, 0, 176, len(data), len(vecs), -math.inf).ljust(152, b"\0") + data


def m_coll(op, coll, dim=0, metric=0):
    return hdr(op, 192) + struct.pack("<64sIII", coll, dim, metric, 0).ljust(168, b"\0")
