"""Reading the ledger of all runs, for an audit."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sensor_producer.ledger import Page
from sensor_producer.totals import Totals


@dataclass(frozen=True, slots=True)
class Minute:
    """All runs' readings of one minute of the readings' own time.

    Attributes:
        start_ms: begin of the minute, epoch ms.
        count: distinct valid readings, one entry per device of `Account.device_ids`.
        checksum: of their timestamps, comparable to `CHECKSUM_SQL`.
        totals: of this minute.
        by_run: the same, by the run's name.
    """

    start_ms: int
    count: npt.NDArray[np.uint32]
    checksum: npt.NDArray[np.uint64]
    totals: Totals
    by_run: Mapping[str, Totals]


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a producer.

    Attributes:
        name: the instance in its events' source.
        started_ms, ended_ms: epoch ms; `ended_ms` is None while it runs and after a kill.
        unacknowledged: readings sent without an answer when it ended; None as above. Kafka may
            hold them all the same.
        about: everything in run.json.
    """

    name: str
    started_ms: int
    ended_ms: int | None
    unacknowledged: int | None
    about: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Account:
    """What the ledger says; minutes are read from disk when asked for.

    Attributes:
        runs: by start.
        device_ids: of all runs together.
        minutes: begins of the minutes on record, epoch ms, ascending.
    """

    runs: tuple[Run, ...]
    device_ids: tuple[str, ...]
    minutes: tuple[int, ...]
    _folder: Path
    _positions: dict[str, npt.NDArray[np.int64]]

    def minute(self, start_ms: int) -> Minute:
        """Returns one minute, the runs added up; zeros for one that is not on record."""
        result = Page.empty(len(self.device_ids))
        by_run = {}
        for run in self.runs:
            try:
                page = Page.read(self._folder / run.name / f"{start_ms // 60_000}.npz")
            except FileNotFoundError:
                continue
            positions = self._positions[run.name]
            result.count[positions] += page.count
            result.checksum[positions] += page.checksum
            result.totals += page.totals
            by_run[run.name] = page.totals
        return Minute(
            start_ms=start_ms,
            count=result.count,
            checksum=result.checksum,
            totals=result.totals,
            by_run=by_run,
        )

    def minutes_of(self, run: Run) -> list[int]:
        """Returns the begins of the minutes on record of one run, epoch ms, ascending."""
        return sorted(int(path.stem) * 60_000 for path in (self._folder / run.name).glob("*.npz"))

    def totals(self) -> Totals:
        """Returns the sum over all minutes on record."""
        return sum((self.minute(start_ms).totals for start_ms in self.minutes), Totals())


def read_ledger(folder: Path) -> Account:
    """Reads a ledger, also while producers write it; empty when there is none."""
    runs = sorted(map(_run, folder.glob("*/run.json")), key=lambda run: run.started_ms)
    index: dict[str, int] = {}
    positions = {}
    for run in runs:
        ids = (folder / run.name / "devices.txt").read_text(encoding="utf-8").split("\n")
        positions[run.name] = np.array([index.setdefault(id_, len(index)) for id_ in ids])
    minutes = {int(path.stem) * 60_000 for path in folder.glob("*/*.npz")}
    return Account(tuple(runs), tuple(index), tuple(sorted(minutes)), folder, positions)


def _run(path: Path) -> Run:
    about = json.loads(path.read_text(encoding="utf-8"))
    return Run(
        name=path.parent.name,
        started_ms=about["started_ms"],
        ended_ms=about["ended_ms"],
        unacknowledged=about["unacknowledged"],
        about=about,
    )
