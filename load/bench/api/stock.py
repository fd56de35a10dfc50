"""A hundred million readings in the embedded engine: made once, then kept for the benchmark.

10,000 devices with a reading every 8.64 s for 24 hours, and the rollups of them by the statements
of the consumer. They lie outside of the checkout, about 1 GB, in a folder that is named after what
they were made from, so that another schema makes them anew; the folder may be deleted at any time.
"""

import hashlib
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from sensor_consumer.summaries import LEVELS
from sensor_local.checkout import MIGRATIONS

DEVICES: Final = 10_000
PER_DEVICE: Final = 10_000
READINGS: Final = DEVICES * PER_DEVICE
STEP_MS: Final = 8_640
DAY_SECONDS: Final = 86_400
_SLICES: Final = 20
_VARIABLE: Final = "XDG_CACHE_HOME"
_FINISHED: Final = "FINISHED"

Query = Callable[[str], list[dict[str, Any]]]


def folder(environ: Mapping[str, str]) -> Path:
    """Returns where the data are, or are going to be: of this schema and this module."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for path in sorted(MIGRATIONS.glob("*.sql")):
        digest.update(path.read_bytes())
    cache = Path(environ.get(_VARIABLE) or Path.home() / ".cache")
    return cache / "twinup-bench" / f"history-{digest.hexdigest()[:16]}"


def finished(data: Path) -> bool:
    """Tells whether the data are whole."""
    return (data / _FINISHED).is_file()


def tidy(data: Path) -> None:
    """Removes what was made from an earlier schema, and what was left half made."""
    if data.parent.is_dir():
        for other in data.parent.iterdir():
            if other != data or not finished(data):
                shutil.rmtree(other)
    data.mkdir(parents=True, exist_ok=True)


def end_ms(data: Path) -> int:
    """Returns where the stored day ends, epoch milliseconds."""
    return int((data / _FINISHED).read_text(encoding="ascii"))


def device_id(number: int) -> str:
    """Returns the id of a device, from 0."""
    return f"weather_station_{number:06}"


def fill(query: Query, data: Path, now: int, tell: Callable[[str], None]) -> None:
    """Stores the readings of the last whole day, and their rollups.

    Args:
        query: runs one statement in a database that is migrated and empty.
        data: of the server, which is marked when all is there.
        now: epoch seconds.
        tell: takes one line for people.
    """
    start = now // DAY_SECONDS * DAY_SECONDS - DAY_SECONDS
    tell(f"storing {READINGS:,} readings, once")
    query(
        "INSERT INTO devices SELECT concat('weather_station_', leftPad(toString(number), 6, '0')), "  # noqa: S608
        "'weather_station', ['north', 'south', 'east', 'west', 'central'][number % 5 + 1], 40, 27, "
        f"toDateTime64({start}, 3, 'UTC') FROM numbers({DEVICES})"
    )
    size = DEVICES // _SLICES
    for first in range(0, DEVICES, size):
        query(_readings(start, first, size))
        after, to = device_id(first - 1) if first else "", device_id(first + size - 1)
        for level in LEVELS:
            periods = range(start, start + DAY_SECONDS, level.seconds)
            statement = level.remake(periods)
            query(
                statement.replace("{after:String}", f"'{after}'").replace("{to:String}", f"'{to}'")
            )
        tell(f"{(first + size) * PER_DEVICE:,} stored")
    query(f"INSERT INTO rollup_runs (begun_at) SELECT toDateTime({now}, 'UTC')")
    (data / _FINISHED).write_text(str((start + DAY_SECONDS) * 1_000), encoding="ascii")


def _readings(start: int, first: int, count: int) -> str:
    """Returns the statement for the readings of some devices, in the order of the table's key."""
    number, step = f"intDiv(number, {PER_DEVICE})", f"number % {PER_DEVICE}"
    return (
        "INSERT INTO readings SELECT concat('weather_station_', "  # noqa: S608
        f"leftPad(toString({first} + {number}), 6, '0')), "
        f"fromUnixTimestamp64Milli({start * 1_000} + {step} * {STEP_MS}, 'UTC'), "
        f"toDecimal32(20 + 8 * sin({step} / 1500 + {number}) + rand(1) % 100 / 100, 3), "
        f"toDecimal32(50 + 20 * sin({step} / 2500) + rand(2) % 100 / 100, 3), "
        f"toDecimal32(1000 + 10 * sin({step} / 4000) + rand(3) % 100 / 100, 3), 'active' "
        f"FROM numbers({count * PER_DEVICE})"
    )
