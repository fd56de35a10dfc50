"""The gateway before a hundred million readings: made once, kept, and opened by each run."""

import os
import time
from collections.abc import Callable
from typing import Any, Final

from load.bench.api import history, stock
from load.bench.flow.bed import Bed
from load.bench.flow.gateway import log_in

_PARTS: Final = ("clickhouse", "migrations")
_SERVICES: Final = ("redis", "auth", "gateway")


def measure(tell: Callable[[str], None]) -> dict[str, Any]:
    """Returns the figures of *history*; the first run stores the readings before.

    Raises:
        BenchError: when the system does not start, or an answer is not what was stored.
    """
    data = stock.folder(os.environ)
    new = not stock.finished(data)
    if new:
        stock.tidy(data)
    tell("api: opening the readings of a day")
    with Bed(_PARTS, tell, stored=data) as bed:
        if new:
            stock.fill(bed.query, data, int(time.time()), tell)
        # The admin of an earlier run has another password.
        bed.query("TRUNCATE TABLE users")
        for name in _SERVICES:
            bed.start(name)
        token = log_in(bed.port["auth"], bed.secrets.admin_password)
        tell(f"api: histories of {stock.READINGS:,} readings, one at a time")
        address = f"http://127.0.0.1:{bed.port['gateway']}"
        return history.measure(address, token, stock.end_ms(data))
