"""The part of `make bench-live` about alerts: how long a change takes to a stream, and its cost.

A change is appended as alerts does it, and is there when a stream yields it; all in one process on
the real Redis, without sockets.
"""

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from statistics import quantiles
from typing import Final, NamedTuple

from sensor_gateway.live.alert_events import AlertFilter
from sensor_gateway.live.alert_feed import BLOCK_SECONDS, AlertFeed
from sensor_gateway.live.stream import Stream, Terms
from sensor_shared.adapters.alert_tail import AlertTail
from sensor_shared.adapters.redis import RedisSettings, connect
from sensor_shared.contracts.access import Claims, Role
from sensor_shared.contracts.alert_changes import (
    AlertChange,
    AlertSnapshot,
    ChangeKind,
    change_id,
)
from sensor_shared.contracts.rules import AlertType, Severity

STREAMS: Final = (1, 20, 100)
RATE: Final = 100
"""Changes per second: as many as there are breaches when 1 % of 10,000 readings a second do."""
KEEP: Final = 10_000
_SECONDS: Final = 10
_TERMS: Final = Terms(Claims("bench", Role.READONLY, "session", "token", 0, 2**40), 1e9, 15)


class Found(NamedTuple):
    """What one case gave.

    Attributes:
        p50, p99: from the append to a stream, milliseconds.
        cores: of the process, the load generator and the reading of the streams included.
    """

    p50: float
    p99: float
    cores: float


async def measure(port: int, streams: int) -> Found:
    """Follows for ten seconds while changes are appended one by one."""
    section = RedisSettings(port=port, timeout=1 + BLOCK_SECONDS)
    async with connect(section) as redis, connect(section) as blocking:
        await redis.flushdb()
        tail = AlertTail(redis)
        feed = AlertFeed(tail, AlertTail(blocking))
        feed.start()
        begun: list[float] = []
        took: list[float] = []
        followed = [feed.open(_TERMS, AlertFilter(), None) for _ in range(streams)]
        reading = [asyncio.create_task(_read(stream, begun, took)) for stream in followed]
        await asyncio.sleep(0.5)
        used, started = time.process_time(), time.perf_counter()
        for number in range(RATE * _SECONDS):
            await asyncio.sleep(max(0.0, started + number / RATE - time.perf_counter()))
            begun.append(time.perf_counter())
            await tail.append([_change(number)], keep=KEEP)
        cores = (time.process_time() - used) / (time.perf_counter() - started)
        await asyncio.sleep(0.5)
        for stream in followed:
            stream.end("shutdown")
        await asyncio.gather(*reading)
        await feed.stop()
    if len(took) != len(begun) * streams:
        raise RuntimeError(f"{len(took)} of {len(begun) * streams} changes arrived")
    parts = quantiles(took, n=100)
    return Found(parts[49] * 1000, parts[98] * 1000, cores)


async def held(port: int) -> float:
    """Returns the megabytes of a full stream in Redis."""
    async with connect(RedisSettings(port=port)) as redis:
        await redis.flushdb()
        tail = AlertTail(redis)
        for first in range(0, KEEP, 200):
            await tail.append([_change(first + number) for number in range(200)], keep=KEEP)
        [name] = await redis.keys("*:live")
        used = await redis.memory_usage(name, samples=0)
        return (used or 0) / 1e6


async def _read(stream: Stream, begun: Sequence[float], took: list[float]) -> None:
    """Notes for each change how long it took; they come in order."""
    position = 0
    async for piece in stream.events():
        now = time.perf_counter()
        for _ in range(piece.count(b"event: alert\n")):
            took.append(now - begun[position])
            position += 1


def _change(number: int) -> AlertChange:
    now = datetime.now(UTC)
    alert_id = f"{number:032x}"
    alert = AlertSnapshot(
        alert_id=alert_id,
        device_id=f"weather_station_{number:06}",
        rule_id="temperature-high",
        alert_type=AlertType.TEMPERATURE_HIGH,
        severity=Severity.HIGH,
        message=f"weather_station_{number:06}: temperature 101.5 °C breaks the limit of 90 °C",
        metric="temperature",
        value=101.5,
        threshold=90.0,
        region="north",
        device_type="weather_station",
        latitude=40.5,
        longitude=27.25,
        first_at=now,
        last_at=now,
        metadata={"rule": "temperature-high", "metric": "temperature"},
    )
    return AlertChange(
        change_id=change_id(alert_id, 1),
        kind=ChangeKind.RAISED,
        at=now,
        by="system",
        alert=alert,
    )
