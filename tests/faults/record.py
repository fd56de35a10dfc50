"""What each fault did, line by line as it happens and as a table at the end."""

import time
from dataclasses import dataclass, field

from sensor_local.audit.result import Audit
from sensor_local.daemon import tell

_COLUMNS = ("recovered after", "received", "stored", "in flight", "lost", "duplicated")
_WIDTH = 34


@dataclass
class Record:
    """The rows so far: the fault's name and the cells of the table."""

    rows: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    def add(self, fault: str, seconds: float | None, account: Audit) -> None:
        """Adds a fault, the seconds of its recovery and what the audit said afterwards."""
        counts = (
            account.received,
            account.stored,
            account.in_flight,
            account.lost,
            account.duplicated,
        )
        recovery = "" if seconds is None else f"{seconds:.1f} s"
        self.rows.append((fault, (recovery, *(f"{count:,}" for count in counts))))
        tell(f"[{time.monotonic() - self.began:4.0f} s] {_line(*self.rows[-1])}")


def table(record: Record) -> str:
    """Returns all rows below their heads."""
    return "\n".join(["", _line("fault", _COLUMNS), *(_line(*row) for row in record.rows)])


def _line(fault: str, cells: tuple[str, ...]) -> str:
    return fault.ljust(_WIDTH) + "".join(
        cell.rjust(max(len(name), 11) + 2) for cell, name in zip(cells, _COLUMNS, strict=True)
    )
