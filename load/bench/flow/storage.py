"""*storage*: what a reading takes on disk, once the parts are merged."""

from collections.abc import Callable
from typing import Any

from load.bench.flow.bed import Bed, BenchError
from load.bench.flow.holding import Load

_DEVICES = 10_000
_RATE = 100_000


def measure(bed: Bed, *, history: float, tell: Callable[[str], None]) -> dict[str, Any]:
    """Sends the simulated fleet's past through the consumer path and measures the table.

    Args:
        bed: with the parts of the consumer path and the dispatcher.
        history: seconds of 10,000 devices at one reading a second.
        tell: takes one line for people.

    Raises:
        BenchError: when what is stored is not what was sent.
    """
    bed.query("TRUNCATE TABLE readings")
    words = ("--past", str(history), "--devices", str(_DEVICES), "--rate", str(_RATE))
    with Load(bed, *words) as load:
        load.wait()
    bed.drain()
    bed.query("OPTIMIZE TABLE readings FINAL")
    (parts,) = bed.query(
        "SELECT count() AS parts, sum(rows) AS readings, sum(data_compressed_bytes) AS data,"
        " sum(bytes_on_disk) AS disk FROM system.parts"
        " WHERE active AND database = currentDatabase() AND table = 'readings'"
    )
    readings = int(parts["readings"])
    if readings != load.acknowledged:
        raise BenchError(f"{load.acknowledged:,} readings were sent, but {readings:,} stored")
    columns = bed.query(
        "SELECT column, sum(column_data_compressed_bytes) AS bytes FROM system.parts_columns"
        " WHERE active AND database = currentDatabase() AND table = 'readings' GROUP BY column"
    )
    found = {
        "readings": readings,
        "parts": int(parts["parts"]),
        "data_bytes_per_reading": round(int(parts["data"]) / readings, 3),
        "disk_bytes_per_reading": round(int(parts["disk"]) / readings, 3),
        "columns": {one["column"]: round(int(one["bytes"]) / readings, 3) for one in columns},
    }
    tell(
        f"storage: {readings:,} readings in {found['parts']} parts, "
        f"{found['data_bytes_per_reading']:.2f} bytes each "
        f"({found['disk_bytes_per_reading']:.2f} with marks and index)"
    )
    return found
