"""The ledger: what Kafka has acknowledged, per device and minute of the reading's own time.

A folder per run (`<ledger>/<run>/`) holds `devices.txt`, one id per line, `run.json`, and one
`<epoch minute>.npz` per minute. Files are replaced as a whole, so a reader never sees half of one,
and survive the end of this process at any moment; up to `FLUSH_S` seconds of acknowledgements may
be missing after a kill.
"""

import json
from collections.abc import Callable
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sensor_producer.checksum import scramble
from sensor_producer.faults import Fault
from sensor_producer.fleet import Readings
from sensor_producer.totals import Totals

FLUSH_S = 1.0
_MINUTE_MS = 60_000
_KEPT_OPEN = 3  # minutes held in memory; a later reading loads its minute again


@dataclass(slots=True)
class Page:
    """One minute of one run.

    Attributes:
        count: valid readings per device, each timestamp once.
        checksum: of their timestamps, see `checksum`.
        totals: of this minute.
    """

    count: npt.NDArray[np.uint32]
    checksum: npt.NDArray[np.uint64]
    totals: Totals
    changed: bool = field(default=False)

    @classmethod
    def empty(cls, devices: int) -> "Page":
        """Returns a page on which nothing is written."""
        return cls(np.zeros(devices, np.uint32), np.zeros(devices, np.uint64), Totals())

    @classmethod
    def read(cls, path: Path) -> "Page":
        """Reads a minute's file."""
        with np.load(path) as arrays:
            totals = Totals(*arrays["totals"].tolist())
            return cls(arrays["count"], arrays["checksum"], totals)

    def add(self, readings: Readings) -> None:
        """Adds readings of this minute."""
        counted = ~readings.suffering(Fault.REPEATED | Fault.FAILED)
        device = readings.device[counted]
        np.add.at(self.count, device, np.uint32(1))
        np.add.at(self.checksum, device, scramble(readings.timestamp_ms[counted]))
        self.totals += Totals.of(readings)
        self.changed = True


class Ledger:
    """Writes the ledger of one run."""

    def __init__(
        self,
        folder: Path,
        run: str,
        device_ids: tuple[str, ...],
        *,
        hours: int,
        clock_ms: Callable[[], int],
        about: dict[str, Any] | None = None,
    ):
        """Opens a run's folder.

        Args:
            folder: the ledger of all runs.
            run: name of this run, never used before.
            device_ids: id of each device number.
            hours: minutes older than this are deleted, of earlier runs too.
            clock_ms: the time, epoch ms.
            about: further facts for run.json, e.g. the seed.
        """
        self._begin(folder, run, len(device_ids), hours, clock_ms)
        self._folder.mkdir(parents=True)
        self._run: dict[str, Any] = {
            "run": run,
            "started_ms": clock_ms(),
            "ended_ms": None,
            "unacknowledged": None,
            **(about or {}),
        }
        _replace(self._folder / "devices.txt", "\n".join(device_ids).encode())
        self._write_run()

    def _begin(
        self, folder: Path, run: str, devices: int, hours: int, clock_ms: Callable[[], int]
    ) -> None:
        self._root = folder
        self._folder = folder / run
        self._devices = devices
        self._hours = hours
        self._clock_ms = clock_ms
        self._pages: dict[int, Page] = {}
        self._newest = 0

    @classmethod
    def resume(
        cls, folder: Path, run: str, *, hours: int, clock_ms: Callable[[], int]
    ) -> "Ledger | None":
        """Opens the ledger of a run that is over, for acknowledgements that come after its end.

        Its run.json stays as it is. Returns None when that run has kept no ledger.
        """
        try:
            ids = (folder / run / "devices.txt").read_text(encoding="utf-8").split("\n")
        except FileNotFoundError:
            return None
        ledger = cls.__new__(cls)
        ledger._begin(folder, run, len(ids), hours, clock_ms)  # noqa: SLF001 - our own
        return ledger

    def add(self, readings: Readings) -> None:
        """Adds readings that Kafka has acknowledged."""
        minutes = readings.timestamp_ms // _MINUTE_MS
        for minute in np.unique(minutes).tolist():
            self._page(minute).add(readings[minutes == minute])

    def flush(self) -> None:
        """Writes what has changed, and forgets minutes that are over."""
        for minute, page in self._pages.items():
            if page.changed:
                self._write(minute, page)
        newest = max(self._pages, default=0)
        for minute in [minute for minute in self._pages if minute <= newest - _KEPT_OPEN]:
            del self._pages[minute]
        if newest > self._newest:
            self._newest = newest
            self._expire(newest - self._hours * 60)

    def close(self, unacknowledged: int) -> None:
        """Ends the run; `unacknowledged` readings were sent without an answer."""
        self.flush()
        self._run |= {"ended_ms": self._clock_ms(), "unacknowledged": unacknowledged}
        self._write_run()

    def _page(self, minute: int) -> Page:
        page = self._pages.get(minute)
        if page is None:
            path = self._path(minute)
            page = Page.read(path) if path.exists() else Page.empty(self._devices)
            self._pages[minute] = page
        return page

    def _path(self, minute: int) -> Path:
        return self._folder / f"{minute}.npz"

    def _write(self, minute: int, page: Page) -> None:
        path = self._path(minute)
        fresh = path.with_suffix(".tmp")
        with fresh.open("wb") as file:
            totals = np.array(astuple(page.totals), dtype=np.uint64)
            np.savez(file, count=page.count, checksum=page.checksum, totals=totals)
        fresh.replace(path)
        page.changed = False

    def _write_run(self) -> None:
        _replace(self._folder / "run.json", json.dumps(self._run).encode())

    def _expire(self, oldest: int) -> None:
        for path in self._root.glob("*/*.npz"):
            if int(path.stem) < oldest:
                path.unlink(missing_ok=True)


def _replace(path: Path, content: bytes) -> None:
    fresh = path.with_suffix(".tmp")
    fresh.write_bytes(content)
    fresh.replace(path)
