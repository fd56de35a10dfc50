"""One file of the spool: frames that are appended, read in order and marked when acknowledged.

A frame is a header, 13 bytes in little-endian order, and a body:

| bytes | field                                                                     |
|-------|---------------------------------------------------------------------------|
| 4     | length of the body                                                        |
| 4     | readings in it, so that a file is counted without decoding it             |
| 4     | CRC-32 of the eight bytes above and the body                              |
| 1     | 0, or 1 from its acknowledgement on: the only byte that is ever rewritten |
"""

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_HEADER = struct.Struct("<IIIB")
_COUNTS = struct.Struct("<II")
_MARK = _HEADER.size - 1
_ACKNOWLEDGED = 1


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame of a segment: where it begins (bytes), its readings, its body."""

    offset: int
    readings: int
    body: bytes


def frame_bytes(body: bytes) -> int:
    """Returns the size on disk of a body's frame."""
    return _HEADER.size + len(body)


class Segment:
    """An open file of frames.

    Attributes:
        path: of the file.
        run: the producer's run whose records these are.
        size: bytes of whole frames.
        records, readings: not acknowledged.
        unreadable: bytes at the end that are no whole frame; found when the file is opened.
        damaged: whether they are more than a frame that was cut off. Then the file is not to be
            deleted.
    """

    def __init__(self, path: Path, run: str):
        """Opens a file, or makes it; cuts off a last frame that was never written to its end.

        Raises:
            OSError: when it cannot be opened or read.
        """
        self.path, self.run = path, run
        self.size = self.records = self.readings = 0
        self.damaged = False
        self._read_to = 0
        self._open: dict[int, int] = {}  # readings by offset, of what is not acknowledged
        self._handed_out: set[int] = set()
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o640)
        for frame in self._scan():
            self._count(frame.offset, frame.readings)
        self.unreadable = os.fstat(self._file).st_size - self.size
        if self.unreadable and not self.damaged:
            os.ftruncate(self._file, self.size)

    def append(self, body: bytes, readings: int, *, handed_out: bool) -> int:
        """Writes a frame and returns its offset; `next` leaves out what is handed out already.

        Raises:
            OSError: when the disk does not take it; the file is as before.
        """
        counts = _COUNTS.pack(len(body), readings)
        header = _HEADER.pack(len(body), readings, zlib.crc32(body, zlib.crc32(counts)), 0)
        frame = header + body
        offset = self.size
        try:
            written = os.pwrite(self._file, frame, offset)
            while written < len(frame):
                written += os.pwrite(self._file, frame[written:], offset + written)
        except OSError:
            os.ftruncate(self._file, offset)
            raise
        self.size += len(frame)
        self._count(offset, readings)
        if handed_out:
            self._handed_out.add(offset)
        return offset

    def next(self) -> Frame | None:
        """Hands out the next frame that is neither acknowledged nor handed out."""
        while self._read_to < self.size:
            offset = self._read_to
            length, readings, _, _ = _HEADER.unpack(os.pread(self._file, _HEADER.size, offset))
            self._read_to += _HEADER.size + length
            if offset in self._open and offset not in self._handed_out:
                self._handed_out.add(offset)
                return Frame(offset, readings, os.pread(self._file, length, offset + _HEADER.size))
        return None

    def acknowledge(self, offset: int) -> int:
        """Marks a frame, so that it is never handed out again; returns its readings."""
        os.pwrite(self._file, bytes((_ACKNOWLEDGED,)), offset + _MARK)
        self._handed_out.discard(offset)
        readings = self._open.pop(offset)
        self.readings -= readings
        self.records -= 1
        return readings

    def sync(self) -> None:
        """Waits until the disk has what was written."""
        os.fdatasync(self._file)

    def close(self) -> None:
        """Closes the file."""
        os.close(self._file)

    def _count(self, offset: int, readings: int) -> None:
        self._open[offset] = readings
        self.records += 1
        self.readings += readings

    def _scan(self) -> Iterator[Frame]:
        """Yields what is not acknowledged, up to the first frame that is not whole."""
        with open(self._file, "rb", closefd=False) as file:
            while len(header := file.read(_HEADER.size)) == _HEADER.size:
                length, readings, checksum, mark = _HEADER.unpack(header)
                body = file.read(length)
                if len(body) < length:
                    return
                if zlib.crc32(body, zlib.crc32(header[: _COUNTS.size])) != checksum:
                    self.damaged = True
                    return
                offset = self.size
                self.size += _HEADER.size + length
                if mark != _ACKNOWLEDGED:
                    yield Frame(offset, readings, body)
