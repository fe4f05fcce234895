#!/usr/bin/env python3
"""Replaces the library search path (DT_RPATH or DT_RUNPATH) inside 64-bit little-endian ELF files.

    set_rpath.py PATH FILE...     PATH may not be longer than what is there; '$ORIGIN' is the file's folder
"""
import struct
import sys

PT_LOAD, PT_DYNAMIC, DT_STRTAB, DT_RPATH, DT_RUNPATH = 1, 2, 5, 15, 29


def segments(data):
    """(type, file offset, address, size in the file) of every segment."""
    offset, = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    for i in range(count):
        kind, _, at, address, _, length = struct.unpack_from("<IIQQQQ", data, offset + i * size)
        yield kind, at, address, length


def set_rpath(data, path):
    parts = list(segments(data))
    dynamic = next((p for p in parts if p[0] == PT_DYNAMIC), None)
    if dynamic is None:
        return
    entries = list(struct.iter_unpack("<qQ", data[dynamic[1]:dynamic[1] + dynamic[3]]))
    address = next(value for tag, value in entries if tag == DT_STRTAB)
    strings = next(at + address - start for kind, at, start, length in parts
                   if kind == PT_LOAD and start <= address < start + length)
    for tag, value in entries:
        if tag in (DT_RPATH, DT_RUNPATH):
            begin = strings + value
            room = data.index(0, begin) - begin
            if len(path) > room:
                raise SystemExit(f"a path of {room} bytes cannot become {path.decode()!r}")
            data[begin:begin + room] = path + bytes(room - len(path))


def main():
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    for name in sys.argv[2:]:
        with open(name, "r+b") as file:
            data = bytearray(file.read())
            if data[:6] != b"\x7fELF\x02\x01":
                raise SystemExit(f"{name} is no 64-bit little-endian ELF file")
            set_rpath(data, sys.argv[1].encode())
            file.seek(0)
            file.write(data)


if __name__ == "__main__":
    main()
