"""Truncated audio files: how much of what a header declares is in the file."""

from __future__ import annotations

import itertools
import struct

from .containers import Buffer, is_mp3, mp3_frames, mp3_info

# Sizes of 32 bits that programs write to pipes: 0, about 2 GiB (sox, arecord) and about 4 GiB.
_PLACEHOLDERS = (range(1), range(0x7FFF_0000, 0x8001_0000), range(0xFFFF_0000, 0x1_0000_0000))


def share_present(data: Buffer) -> float:
    """Bytes of samples in a file as a share of those that its header declares.

    Returns:
        Below 1 if the file is truncated; 0 if it is truncated and does not say by how much (Ogg);
        above 1 if the samples of WAV, AIFF or AU do not end where both sizes or the only one say;
        1 if nothing is declared, as in streams, or the decoder checks it (FLAC).
    """
    kind = data[:4]
    if kind == b"OggS":
        return _ogg_share(data)
    if kind in (b"RIFF", b"FORM", b".snd"):
        body, size = {b"RIFF": _riff, b"FORM": _aiff, b".snd": _au}[kind](data)
        return (len(data) - body) / size if size > 0 else 1.0
    body, size = 0, 0
    if kind in (b"RF64", b"riff", b"caff"):
        body, size = {b"RF64": _rf64, b"riff": _w64, b"caff": _caf}[kind](data)
    elif is_mp3(data):
        body, size = _mp3(data)
    return min(1.0, (len(data) - body) / size) if size > 0 else 1.0


def _is_placeholder(size: int) -> bool:
    return any(size in sizes for sizes in _PLACEHOLDERS)


def _ogg_share(data: Buffer) -> float:
    """0 if the last page is not complete."""
    page = data.rfind(b"OggS")
    table = data[page + 27 : page + 27 + (data[page + 26] if page + 26 < len(data) else 0)]
    complete = page + 26 < len(data) and len(table) == data[page + 26]
    return 1.0 if complete and page + 27 + len(table) + sum(table) <= len(data) else 0.0


def _chunk(data: Buffer, name: bytes, order: str) -> tuple[int, int]:
    """Position and size of the content of a chunk; size 0 if there is none or it is unknown."""
    position = 12
    while position + 8 <= len(data):
        (size,) = struct.unpack(order, data[position + 4 : position + 8])
        if data[position : position + 4] == name:
            return position + 8, size
        position += 8 + size + size % 2
    return 0, 0


def _riff(data: Buffer) -> tuple[int, int]:
    body, size = _chunk(data, b"data", "<I")
    return body, _declared(data, body, size, "<I")


def _aiff(data: Buffer) -> tuple[int, int]:
    body, size = _chunk(data, b"SSND", ">I")
    return body + 8, _declared(data, body, size, ">I") - 8  # without offset and block size


def _declared(data: Buffer, body: int, size: int, order: str) -> int:
    """The size of a chunk of samples; 0 if it, or that of a longer file, is a placeholder."""
    (whole,) = struct.unpack(order, data[4:8]) if len(data) >= 8 else (0,)
    return (
        0 if _is_placeholder(size) or (_is_placeholder(whole) and body + size < len(data)) else size
    )


def _au(data: Buffer) -> tuple[int, int]:
    offset, size = struct.unpack(">II", data[4:12]) if len(data) >= 12 else (0, 0)
    return offset, 0 if _is_placeholder(size) else size


def _rf64(data: Buffer) -> tuple[int, int]:
    place, _ = _chunk(data, b"ds64", "<I")
    body, size = _chunk(data, b"data", "<I")
    if place and size == 0xFFFF_FFFF:
        (size,) = struct.unpack("<Q", data[place + 8 : place + 16])
    return body, size


def _w64(data: Buffer) -> tuple[int, int]:
    position = 40  # GUIDs of 16 bytes, sizes of 8 bytes that count both
    while position + 24 <= len(data):
        (size,) = struct.unpack("<Q", data[position + 16 : position + 24])
        if data[position : position + 4] == b"data":
            return position + 24, 0 if size >= 1 << 63 else size - 24
        position += max(24, size + -size % 8)
    return 0, 0


def _caf(data: Buffer) -> tuple[int, int]:
    position = 8
    while position + 12 <= len(data):
        (size,) = struct.unpack(">q", data[position + 4 : position + 12])
        if data[position : position + 4] == b"data" or size < 0:
            return position + 16, size - 4  # after the number of edits
        position += 12 + size
    return 0, 0


def _mp3(data: Buffer) -> tuple[int, int]:
    """Position of the first frame, and the bytes that its description declares."""
    for frame in itertools.islice(mp3_frames(data), 1):
        if data[frame + 36 : frame + 40] == b"VBRI":
            return frame, int.from_bytes(data[frame + 46 : frame + 50], "big")
        if info := mp3_info(data, frame):
            (fields,) = struct.unpack(">I", data[info + 4 : info + 8])
            place = info + (12 if fields & 1 else 8)  # after the number of frames, if it is there
            return frame, int.from_bytes(data[place : place + 4], "big") if fields & 2 else 0
    return 0, 0
