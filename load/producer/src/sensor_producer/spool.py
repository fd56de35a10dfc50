"""The spool: records on disk that Kafka has not acknowledged, in order, up to a limit.

`<spool>/<run>/<number>.spool` are the segments of a run. Its producer holds a lock on the run's
folder for as long as it lives, so a folder without a holder is what an ended or killed producer
has left, and the next one to start takes it over.

What is written survives the end of the process at any moment; once a second it is brought to the
disk, so the end of the machine costs a second at most. A segment is deleted when all of its
records are acknowledged.
"""

import fcntl
import os
import shutil
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from sensor_producer.fleet import Readings
from sensor_producer.records import Record
from sensor_producer.segment import Segment, frame_bytes
from sensor_shared.telemetry.logs import logger
from sensor_shared.telemetry.metrics import (
    PRODUCER_SPOOL_BYTES,
    PRODUCER_SPOOL_FULL,
    PRODUCER_SPOOL_LIMIT,
    PRODUCER_SPOOL_RECORDS,
    PRODUCER_SPOOL_UNREADABLE,
    PRODUCER_SPOOLED,
)

SEGMENT_BYTES = 4 * 1024 * 1024
_SYNC_S = 1.0


class _Stored(msgspec.Struct, array_like=True):
    """A record on disk; of its readings what the ledger counts, as columns."""

    partition: int
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes | None]]
    device: bytes
    timestamp_ms: bytes
    faults: bytes


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Stored).decode


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record is in the spool."""

    segment: Segment
    offset: int


class Spool:
    """A queue on disk. All calls come from one thread.

    Attributes:
        limit: bytes that its files may have together.
        bytes: that they have.
        records, readings: that are not acknowledged.
        full: whether the last record had no room, and no room was made since.
    """

    def __init__(self, folder: Path, run: str, *, limit: int, segment_bytes: int = SEGMENT_BYTES):
        """Opens a run's spool, and takes over what ended runs have left: it comes first.

        Raises:
            OSError: when the folder cannot be read or written.
        """
        self.limit = limit
        self.bytes = self.records = self.readings = 0
        self.full = False
        self._folder = folder / run
        self._segment_bytes = segment_bytes
        self._number = 0
        self._segments: list[Segment] = []
        self._unread: deque[Segment] = deque()
        self._tail: Segment | None = None
        self._dirty = self._half = False
        self._synced_at = 0.0
        self._locks: dict[str, int] = {}
        self._log = logger(spool_limit_bytes=limit)
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # one producer at a time looks around
            for left in sorted(path for path in folder.iterdir() if path.is_dir()):
                self._take_over(left)
            self._folder.mkdir()
            self._lock(self._folder)
        PRODUCER_SPOOL_LIMIT.set(limit)
        self._tell()
        if self.records:
            self._log.warning(
                "an earlier run has left records, they are sent first",
                records=self.records,
                readings=self.readings,
                bytes=self.bytes,
            )

    def append(self, record: Record, *, handed_out: bool) -> Place | None:
        """Writes a record; None when it has no room, or the disk fails.

        Args:
            record: of this run or of an earlier one.
            handed_out: whether it is on its way to Kafka, so that `next` leaves it out.
        """
        readings = record.readings
        body = _encode(
            _Stored(
                record.partition,
                record.key,
                record.value,
                [
                    (name, value.encode() if isinstance(value, str) else value)
                    for name, value in record.headers
                ],
                readings.device.astype("<i4").tobytes(),
                readings.timestamp_ms.astype("<i8").tobytes(),
                readings.faults.astype("<u2").tobytes(),
            )
        )
        if self.bytes + frame_bytes(body) > self.limit:
            self._refuse("the spool is full")
            return None
        try:
            segment = self._writable()
            offset = segment.append(body, len(readings), handed_out=handed_out)
        except OSError as error:
            self._refuse(f"the spool cannot be written: {error}")
            return None
        self.bytes += frame_bytes(body)
        self.records += 1
        self.readings += len(readings)
        self._dirty, self.full = True, False
        PRODUCER_SPOOLED.inc(len(readings))
        self._tell()
        return Place(segment, offset)

    def next(self) -> tuple[Place, Record] | None:
        """Hands out the oldest record that is not on its way to Kafka, in the order of `append`."""
        while self._unread:
            segment = self._unread[0]
            frame = segment.next()
            if frame is not None:
                run = "" if segment.run == self._folder.name else segment.run
                return Place(segment, frame.offset), _restored(frame.body, run)
            if segment is self._tail:
                break
            self._unread.popleft()
        return None

    def acknowledge(self, place: Place) -> None:
        """Forgets a record that Kafka has."""
        segment = place.segment
        self.readings -= segment.acknowledge(place.offset)
        self.records -= 1
        if not segment.records and segment is not self._tail:
            self._remove(segment)
        if not self.records:
            if self._tail is not None:
                self._remove(self._tail)
            self._half = False
            self._log.info("the spool is empty")
        self._tell()

    def sync(self) -> None:
        """Brings to the disk what was written since the last time, once a second."""
        if self._dirty and time.monotonic() - self._synced_at >= _SYNC_S:
            self._sync()

    def close(self) -> None:
        """Lets go of everything; what is left is for the next one to start."""
        self._sync()
        for segment in self._segments:
            segment.close()
        for name, lock in self._locks.items():
            if not any(self._folder.with_name(name).glob("*.*")):
                shutil.rmtree(self._folder.with_name(name), ignore_errors=True)
            os.close(lock)

    def _sync(self) -> None:
        self._synced_at, self._dirty = time.monotonic(), False
        if self._tail is not None:
            self._tail.sync()

    def _writable(self) -> Segment:
        if self._tail is None or self._tail.size >= self._segment_bytes:
            full = self._tail
            if full is not None:
                full.sync()
            self._number += 1
            path = self._folder / f"{self._number:06d}.spool"
            self._tail = Segment(path, self._folder.name)
            self._segments.append(self._tail)
            self._unread.append(self._tail)
            if full is not None and not full.records:
                self._remove(full)
        return self._tail

    def _take_over(self, folder: Path) -> None:
        if not self._lock(folder):
            return
        for path in sorted(folder.glob("*.spool")):
            segment = Segment(path, folder.name)
            self.bytes += segment.size
            self.records += segment.records
            self.readings += segment.readings
            self._segments.append(segment)
            self._unread.append(segment)
            if segment.unreadable:
                PRODUCER_SPOOL_UNREADABLE.inc(segment.unreadable)
                self._log.error(
                    "damaged: the rest of this segment is kept aside"
                    if segment.damaged
                    else "the last record was not written to its end",
                    segment=f"{folder.name}/{path.name}",
                    bytes=segment.unreadable,
                    records_kept=segment.records,
                )
            if not segment.records:
                self._remove(segment)

    def _lock(self, folder: Path) -> bool:
        """Takes a run's folder, unless its producer lives."""
        try:
            lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o640)
        except FileNotFoundError:  # its producer is just tidying up
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return False
        self._locks[folder.name] = lock
        return True

    def _remove(self, segment: Segment) -> None:
        segment.close()
        if segment.damaged:
            segment.path.rename(segment.path.with_suffix(".damaged"))
        else:
            segment.path.unlink()
        self.bytes -= segment.size
        self._segments.remove(segment)
        if segment in self._unread:
            self._unread.remove(segment)
        if segment is self._tail:
            self._tail = None
        self.full = False

    def _refuse(self, why: str) -> None:
        if not self.full:
            PRODUCER_SPOOL_FULL.inc()
            self._log.error(
                f"{why}; the fleet waits and catches up later",
                records=self.records,
                readings=self.readings,
                bytes=self.bytes,
            )
        self.full = True

    def _tell(self) -> None:
        PRODUCER_SPOOL_BYTES.set(self.bytes)
        PRODUCER_SPOOL_RECORDS.set(self.records)
        if not self._half and self.bytes > self.limit / 2:
            self._half = True
            self._log.warning("the spool is half full", records=self.records, bytes=self.bytes)


def _restored(body: bytes, run: str) -> Record:
    """The record; the readings' metrics are in its value alone and become NaN here."""
    stored = _decode(body)
    device = np.frombuffer(stored.device, "<i4")
    unknown = np.full(len(device), np.nan)
    return Record(
        partition=stored.partition,
        key=stored.key,
        value=stored.value,
        headers=[*stored.headers],
        readings=Readings(
            device=device,
            timestamp_ms=np.frombuffer(stored.timestamp_ms, "<i8"),
            temperature=unknown,
            humidity=unknown,
            pressure=unknown,
            status=np.zeros(len(device), np.int8),
            faults=np.frombuffer(stored.faults, "<u2"),
        ),
        run=run,
    )
