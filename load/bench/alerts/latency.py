"""From a breach whose reading is stored to its stored alert, while readings are being stored."""

import asyncio
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import grpc
from pydantic import SecretStr

from load.bench.alerts.sweeping import sweep
from load.bench.flow.bed import Bed, BenchError
from sensor_shared.adapters.clickhouse import ClickHouseSettings
from sensor_shared.adapters.database import Database
from sensor_shared.adapters.grpc import AlertClient, AlertTargetSettings, alert_request
from sensor_shared.contracts.rules import AlertType, Breach, Severity
from twinup.alert.v1 import alert_pb2, alert_pb2_grpc

_INSERTS_PER_SECOND = 20
"""Into `readings`, as many rows in each as make the whole."""
_SWEEP_SECONDS = 5.0
"""Between two sweeps, as by the PingSource."""
_READ_EVERY = 4
"""Of so many inserts one breach is read back."""


@dataclass(frozen=True, slots=True)
class Taken:
    """Milliseconds from the acknowledged reading on.

    Attributes:
        stored: until the answer, which is given when the alert is stored; of every breach.
        read: until the service has shown the alert in its history; of some breaches.
        sweeps: what each sweep took meanwhile.
    """

    stored: list[float] = field(default_factory=list)
    read: list[float] = field(default_factory=list)
    sweeps: list[float] = field(default_factory=list)


async def breach_to_alert(bed: Bed, *, readings: int, share: float, seconds: int) -> Taken:
    """Returns how long each breach took, while a sweep goes over all open alerts now and then.

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
    target = f"127.0.0.1:{bed.port['alerts_grpc']}"
    channel = grpc.aio.insecure_channel(target)
    token = (("authorization", f"Bearer {environment['TWINUP_GRPC_TOKEN']}"),)
    stub: Any = alert_pb2_grpc.AlertServiceStub(channel)
    client = AlertClient(
        AlertTargetSettings(
            target=target,
            token=SecretStr(environment["TWINUP_GRPC_TOKEN"]),
            timeout=10.0,
        )
    )
    taken = Taken()
    under_way: set[asyncio.Task[None]] = set()
    size = readings // _INSERTS_PER_SECOND

    async def stored(breaches: int, *, read: bool) -> None:
        now = datetime.now(UTC)
        rows = [
            {"device_id": f"weather_station_{number:06}", "timestamp": now, "temperature": 20.0}
            for number in range(size)
        ]
        await database.insert_many("readings", rows)
        acknowledged = time.perf_counter()
        await asyncio.gather(
            *(reported(acknowledged, read=read and not n) for n in range(breaches))
        )

    async def reported(acknowledged: float, *, read: bool) -> None:
        breach = _breach()
        await client.send(alert_request(breach))
        taken.stored.append((time.perf_counter() - acknowledged) * 1000)
        if read:
            asked = alert_pb2.AlertHistoryRequest(device_id=breach.device_id)
            answer = await stub.GetAlertHistory(asked, metadata=token)
            if answer.total_count != 1:
                raise BenchError(f"{answer.total_count} alerts of a device that had one breach")
            taken.read.append((time.perf_counter() - acknowledged) * 1000)

    async def swept() -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            started = time.perf_counter()
            await asyncio.to_thread(sweep, bed)
            taken.sweeps.append((time.perf_counter() - started) * 1000)

    sweeping = asyncio.create_task(swept())
    begin = time.perf_counter()
    for number in range(seconds * _INSERTS_PER_SECOND):
        await asyncio.sleep(max(0.0, begin + number / _INSERTS_PER_SECOND - time.perf_counter()))
        task = asyncio.create_task(stored(round(size * share), read=number % _READ_EVERY == 0))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
    await asyncio.gather(*under_way)
    if sweeping.done():
        sweeping.result()  # it never ends by itself, unless it failed
    sweeping.cancel()
    await channel.close(grace=None)
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
