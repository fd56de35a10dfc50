"""From a breach whose reading is stored to its stored alert, while readings are being stored."""

import asyncio
import time
import uuid
from datetime import UTC, datetime

from pydantic import SecretStr

from load.bench.flow.bed import Bed
from sensor_shared.adapters.clickhouse import ClickHouseSettings
from sensor_shared.adapters.database import Database
from sensor_shared.adapters.grpc import AlertClient, AlertServiceSettings, alert_request
from sensor_shared.contracts.rules import AlertType, Breach, Severity

_INSERTS_PER_SECOND = 20
"""Into `readings`, as many rows in each as make the whole."""


async def breach_to_alert(bed: Bed, *, readings: int, share: float, seconds: int) -> list[float]:
    """Returns milliseconds of each breach, from the acknowledged reading to the stored alert.

    Every breach is of a device of its own, so that each is a new alert: the dearest case. They are
    sent on a clock, whatever became of those before.

    Args:
        bed: runs clickhouse, redis, kafka and alerts.
        readings: stored in a second.
        share: of them that break a rule.
        seconds: how long.
    """
    environment = bed.environment("alerts")
    database = Database(
        ClickHouseSettings(
            port=bed.port["clickhouse"],
            user=environment["TWINUP_CLICKHOUSE_USER"],
            password=SecretStr(environment["TWINUP_CLICKHOUSE_PASSWORD"]),
            database=environment["TWINUP_CLICKHOUSE_DATABASE"],
        )
    )
    client = AlertClient(
        AlertServiceSettings(
            target=f"127.0.0.1:{bed.port['alerts_grpc']}",
            token=SecretStr(environment["TWINUP_GRPC_TOKEN"]),
            timeout=10.0,
        )
    )
    taken: list[float] = []
    under_way: set[asyncio.Task[None]] = set()
    size = readings // _INSERTS_PER_SECOND

    async def stored(breaches: int) -> None:
        now = datetime.now(UTC)
        rows = [
            {"device_id": f"weather_station_{number:06}", "timestamp": now, "temperature": 20.0}
            for number in range(size)
        ]
        await database.insert_many("readings", rows)
        acknowledged = time.perf_counter()
        await asyncio.gather(*(reported(acknowledged) for _ in range(breaches)))

    async def reported(acknowledged: float) -> None:
        await client.send(alert_request(_breach()))
        taken.append((time.perf_counter() - acknowledged) * 1000)

    begin = time.perf_counter()
    for number in range(seconds * _INSERTS_PER_SECOND):
        await asyncio.sleep(max(0.0, begin + number / _INSERTS_PER_SECOND - time.perf_counter()))
        task = asyncio.create_task(stored(round(size * share)))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
    await asyncio.gather(*under_way)
    await client.close()
    await database.close()
    return taken


def _breach() -> Breach:
    return Breach(
        device_id=f"weather_station_{uuid.uuid4().int % 10**12:012}",
        rule_id="temperature-high",
        alert_type=AlertType.TEMPERATURE_HIGH,
        metric="temperature",
        value=96.0,
        threshold=90.0,
        severity=Severity.MEDIUM,
        timestamp_ms=time.time_ns() // 1_000_000,
        latitude=40.1,
        longitude=27.5,
        region="west",
    )
