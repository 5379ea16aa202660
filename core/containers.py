"""Audio containers with wrong or missing sizes: concatenated files, and streams without sizes.

libsndfile relies on headers: it reads only the first of concatenated Ogg or MP3 files, and nothing
of a WAV file with a size of 0, as written to pipes. :func:`split` splits concatenated files and
corrects sizes, so that all samples are decoded.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator

Buffer = bytes | mmap.mmap
_UNKNOWN = b"\xff\xff\xff\xff"  # as a size of 32 bits: up to the end of the file
# The flag "first page of a stream" in an Ogg page; the STREAMINFO block that begins a FLAC file.
_OGG_FIRST = b"OggS\0\2"
_FLAC_FIRST = (b"fLaC\0\0\0\x22", b"fLaC\x80\0\0\x22")


def split(data: Buffer) -> list[Buffer] | None:
    """Split a file into parts that libsndfile reads completely; None if no change is needed.

    Args:
        data: Content of the file. Sizes are corrected in place, so a memory map needs
            ``ACCESS_COPY``.

    Raises:
        RuntimeError: The header of an AU file is damaged.
    """
    kind = data[:4]
    if kind == b"OggS":
        return _cut(data, list(_ogg_starts(data)))
    if kind == b"fLaC":
        starts = _find(data, b"fLaC")
        return _cut(
            data, [position for position in starts if data[position : position + 8] in _FLAC_FIRST]
        )
    if kind in (b"RIFF", b"RF64"):
        return _without_size(data, 12, b"data", "<I", empty=0)
    if kind == b"FORM":
        return _without_size(data, 12, b"SSND", ">I", empty=8)
    if kind == b".snd":
        return _split_au(data)
    if kind == b"caff":
        return _split_caf(data)
    if kind == b"riff":  # Sony Wave64
        following = int.from_bytes(data[16:24], "little")
        return _cut(data, [0, following]) if data[following : following + 4] == b"riff" else None
    return _split_mp3(data) if is_mp3(data) else None


def is_mp3(data: Buffer) -> bool:
    """Whether a file begins with an ID3 tag or an MPEG layer III frame."""
    return data[:3] == b"ID3" or _mp3_frame(data, 0) > 0


def _find(data: Buffer, pattern: bytes) -> Iterator[int]:
    position = data.find(pattern)
    while position >= 0:
        yield position
        position = data.find(pattern, position + 1)


def _cut(data: Buffer, starts: list[int]) -> list[Buffer] | None:
    if len(starts) < 2:
        return None
    ends = [*starts[1:], len(data)]
    return [data[start:end] for start, end in zip(starts, ends, strict=True)]


def _patched(data: Buffer, position: int, new: bytes) -> list[Buffer]:
    if isinstance(data, bytes):
        return [data[:position] + new + data[position + len(new) :]]
    data[position : position + len(new)] = new
    return [data]


def _ogg_starts(data: Buffer) -> Iterator[int]:
    """First pages of streams; consecutive first pages are of one multiplexed stream."""
    end = -1
    for position in _find(data, _OGG_FIRST):
        if position != end:
            yield position
        segments = data[position + 26 : position + 27]
        table = data[position + 27 : position + 27 + segments[0]] if segments else b""
        end = position + 27 + len(table) + sum(table)


def _without_size(
    data: Buffer, first: int, name: bytes, order: str, *, empty: int
) -> list[Buffer] | None:
    """Correct the size of the chunk of samples if it is that of an empty chunk or too small.

    Args:
        data: File of chunks: name (4 bytes), size (4 bytes), content.
        first: Position of the first chunk.
        name: Name of the chunk of samples.
        order: Format of the size for `struct`.
        empty: Size of a chunk without samples.
    """
    position, long_size = first, None
    while position + 8 <= len(data):
        (size,) = struct.unpack(order, data[position + 4 : position + 8])
        if data[position : position + 4] == name:
            break
        if data[position : position + 4] == b"ds64":
            long_size = position + 16
        position += 8 + size + size % 2
    else:
        return None
    body = position + 8
    if data[:4] == b"RF64" and long_size is not None and size == 0xFFFFFFFF:
        (size,) = struct.unpack("<Q", data[long_size : long_size + 8])
        if size == 0 and len(data) > body:
            return _patched(data, long_size, struct.pack("<Q", len(data) - body))
        following = body + size
        return _cut(data, [0, following]) if data[following : following + 4] == b"RF64" else None
    rest = body + size + size % 2
    (whole,) = struct.unpack(order, data[4:8])
    end = 8 + whole + whole % 2
    if size > empty and rest <= end < len(data) and _is_chunks(data[:end], rest, order):
        return None  # both sizes agree: what follows, such as an ID3 tag, is no sound
    if (size <= empty or len(data) - rest >= 8) and not _is_chunks(data, rest, order):
        return _patched(data, position + 4, _UNKNOWN) if len(data) > body + empty else None
    return None


def _is_chunks(data: Buffer, position: int, order: str) -> bool:
    """Whether the rest of a file is a sequence of chunks, with at most 8 bytes left over."""
    while position + 8 < len(data):
        if not data[position : position + 4].isascii():
            return False
        (size,) = struct.unpack(order, data[position + 4 : position + 8])
        position += 8 + size + size % 2
    return position <= len(data) + 1


def _split_au(data: Buffer) -> list[Buffer] | None:
    """Split concatenated AU files; correct sizes that are wrong."""
    parts: list[Buffer] = []
    start = 0
    first = int.from_bytes(data[4:8], "big")
    if not 24 <= first <= len(data):
        raise RuntimeError(f"samples of AU must begin at byte 24 to {len(data)}, got {first}")
    while data[start : start + 4] == b".snd" and start + 12 <= len(data):
        offset, size = struct.unpack(">II", data[start + 4 : start + 12])
        end = start + offset + size
        if size == 0 or end >= len(data) or data[end : end + 4] != b".snd":
            end = len(data)
        part = data[start:end]
        exact = offset + size == len(part)
        if exact and len(part) == len(data):
            return None
        parts += [part] if exact else _patched(part, 8, _UNKNOWN)
        start = end
    return parts or None


def _split_caf(data: Buffer) -> list[Buffer] | None:
    """Split two concatenated CAF files; a data chunk of size -1 or 0 extends to the end."""
    position = 8
    while position + 12 <= len(data):
        (size,) = struct.unpack(">q", data[position + 4 : position + 12])
        if data[position : position + 4] == b"data":
            rest = len(data) - position - 12
            if size < 0 or (size == 0 and rest > 4):
                return _patched(data, position + 4, struct.pack(">q", rest))
        elif size < 0:
            return None
        position += 12 + size
        following = data.find(
            b"caff", position, position + 5
        )  # libsndfile pads to an even position
        if following >= 0:
            return _cut(data, [0, following])
    return None


# MPEG layer III: kbit/s by index in version 1, and in versions 2 and 2.5; Hz by version and index.
_KBPS_1 = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_KBPS_2 = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}


def _mp3_frame(data: Buffer, position: int) -> int:
    """Size in bytes of the MPEG layer III frame at a position; 0 if there is none."""
    head = data[position : position + 4]
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return 0
    version, layer, rate, index = head[1] >> 3 & 3, head[1] >> 1 & 3, head[2] >> 2 & 3, head[2] >> 4
    if version == 1 or layer != 1 or rate == 3 or index in (0, 15):
        return 0
    slots, kbps = (144, _KBPS_1) if version == 3 else (72, _KBPS_2)
    return slots * 1000 * kbps[index - 1] // _RATES[version][rate] + (head[2] >> 1 & 1)


def mp3_info(data: Buffer, position: int) -> int:
    """Position of ``Xing`` or ``Info`` in an info frame; 0 for other frames."""
    version, mono = data[position + 1] >> 3 & 3, data[position + 3] >> 6 == 3
    at = position + 4 + ((17 if mono else 32) if version == 3 else (9 if mono else 17))
    return at if data[at : at + 4] in (b"Xing", b"Info") else 0


def mp3_frames(data: Buffer) -> Iterator[int]:
    """Positions of the frames; tags and damaged bytes between them are skipped."""
    position, end = 0, -1
    while position < len(data) - 4:
        size = _mp3_frame(data, position)
        # A header is valid only directly after or before another frame, or as the only one.
        alone = position + size == len(data)
        if size and (position == end or alone or _mp3_frame(data, position + size)):
            if position + size <= len(data):
                yield position
            position = end = position + size
            continue
        if data[position : position + 3] == b"ID3" and len(data) > position + 10:
            high, mid, low, last = data[position + 6 : position + 10]
            position += 10 + (high << 21 | mid << 14 | low << 7 | last)
            continue
        position = data.find(b"\xff", position + 1)
        if position < 0:
            return


def _split_mp3(data: Buffer) -> list[Buffer] | None:
    """Split at info frames; add or correct the info frame of each part."""
    starts: list[int] = []
    counts: list[int] = []
    for position in mp3_frames(data):
        info = mp3_info(data, position)
        if info or not starts:
            starts.append(position)
            counts.append(0)
        counts[-1] += not info
    if not starts:
        return None
    parts: list[Buffer] = []
    changed = len(starts) > 1
    for start, end, count in zip(starts, [*starts[1:], len(data)], counts, strict=True):
        info = mp3_info(data, start)
        if not info:
            parts.append(_info_frame(data[start : start + 4], count) + data[start:end])
            changed = True
            continue
        (fields, declared) = struct.unpack(">II", data[info + 4 : info + 12])
        part = data[start:end]
        if fields & 1 and abs(declared - count) > 1:  # wrong number of frames
            part = data[start : info + 8] + struct.pack(">I", count) + data[info + 12 : end]
            changed = True
        parts.append(part)
    return parts if changed else None


def _info_frame(head: bytes, count: int) -> bytes:
    """An info frame, without sound, with the number of the following frames."""
    # Without checksum; 64 kbit/s (version 1) or 40 kbit/s are enough for the info.
    new = bytes([head[0], head[1] | 1, (head[2] & 0x0C) | 0x50, head[3]])
    frame = bytearray(_mp3_frame(new, 0))
    frame[:4] = new
    version, mono = head[1] >> 3 & 3, head[3] >> 6 == 3
    at = 4 + ((17 if mono else 32) if version == 3 else (9 if mono else 17))
    frame[at : at + 12] = b"Info" + struct.pack(">II", 1, count)
    return bytes(frame)
