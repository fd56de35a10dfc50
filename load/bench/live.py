"""`make bench-live`: what the live streams cost, and how long a change of an alert takes to one.

Of readings: what one look at them costs the gateway, and sending them. Every device has changed at
each poll, which is the most there is. CPU times are medians of one process on the real Redis,
without sockets.
"""

# ruff: noqa: SLF001 - one poll and one round of sending are measured, not the pauses between them

import asyncio
import os
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Final
from urllib.parse import urlsplit

import pyarrow as pa
from redis.asyncio import Redis
from rich.console import Console
from rich.table import Table

from load.bench import live_alerts
from sensor_gateway.live.feed import ReadingFeed
from sensor_gateway.live.filters import Filter
from sensor_gateway.live.records import LatestRecords
from sensor_gateway.live.stream import Terms
from sensor_local.background import down, up
from sensor_local.folder import RunFolder
from sensor_shared.adapters.latest import LatestReadings
from sensor_shared.adapters.redis import RedisSettings, connect
from sensor_shared.contracts.access import Claims, Role
from sensor_shared.contracts.readings import SCHEMA

_ROUNDS: Final = 7
_NAMED: Final = 50
_CALLER: Final = Claims("bench", Role.READONLY, "session", "token", 0, 2**40)


def _all(_stream: int) -> Filter:
    return Filter()


def _named(stream: int) -> Filter:
    return Filter(frozenset(_device(stream * _NAMED + number) for number in range(_NAMED)))


_CASES: Final[tuple[tuple[int, int, str, Callable[[int], Filter]], ...]] = (
    (10_000, 1, "all", _all),
    (10_000, 20, "all", _all),
    (10_000, 100, f"{_NAMED} devices each", _named),
    (100_000, 1, "all", _all),
)


def main() -> None:
    """Command line entry."""
    table = Table("devices", "streams", "follow", title="CPU milliseconds of one poll")
    for name in ("gateway: look", "Redis", "gateway: encode", "MB sent"):
        table.add_column(name, justify="right")
    title = f"Changes of alerts, {live_alerts.RATE} a second"
    alerts = Table("streams", "p50 ms", "p99 ms", "cores", title=title)
    with tempfile.TemporaryDirectory() as folder:
        run = RunFolder(Path(folder) / "run")
        environ = {**os.environ, "TWINUP_PORTS": "auto"}
        up(run, environ, lambda _line: None, ["redis"], owner=os.getpid())
        try:
            endpoint = (run.endpoints or {})["redis"]
            port = urlsplit(endpoint if "//" in endpoint else f"//{endpoint}").port or 0
            for devices, streams, what, follow in _CASES:
                look, redis, encode, sent = asyncio.run(_measure(port, devices, streams, follow))
                cells = (f"{look:.0f}", f"{redis:.0f}", f"{encode:.0f}", f"{sent:.1f}")
                table.add_row(f"{devices:,}", str(streams), what, *cells)
            for streams in live_alerts.STREAMS:
                found = asyncio.run(live_alerts.measure(port, streams))
                alerts.add_row(str(streams), *(f"{value:.2f}" for value in found))
            megabytes = asyncio.run(live_alerts.held(port))
        finally:
            down(run, lambda _line: None)
    console = Console()
    console.print(table)
    console.print(alerts)
    console.print(f"Redis holds {live_alerts.KEEP:,} changes in {megabytes:.1f} MB")


async def _measure(
    port: int, devices: int, streams: int, follow: Callable[[int], Filter]
) -> tuple[float, float, float, float]:
    rounds = []
    async with connect(RedisSettings(port=port)) as redis:
        await redis.flushdb()
        latest = LatestReadings(redis)
        feed = ReadingFeed(LatestRecords(redis, ttl_seconds=300), seconds=1)
        terms = Terms(_CALLER, 1e9, 15)
        followed = [feed.open(terms, follow(number), None) for number in range(streams)]
        for _ in range(_ROUNDS):
            await latest.update(_batch(devices))
            of_redis, began = await _used(redis), time.process_time()
            await feed._poll()
            looked, of_redis = time.process_time() - began, await _used(redis) - of_redis
            began, sent = time.process_time(), 0
            for stream in followed:
                async for piece in stream.pieces():
                    sent += len(piece)
            rounds.append((looked, of_redis, time.process_time() - began, sent / 1e9))
    look, redis_ms, encode, sent_mb = (
        median(values) * 1000 for values in zip(*rounds, strict=True)
    )
    return look, redis_ms, encode, sent_mb


async def _used(redis: Redis) -> float:
    answer: Any = await redis.info("cpu")
    return float(answer["used_cpu_user"]) + float(answer["used_cpu_sys"])


def _batch(devices: int) -> pa.RecordBatch:
    moment = datetime.now(UTC)
    columns = {
        "device_id": [_device(number) for number in range(devices)],
        "timestamp": [moment] * devices,
        "temperature": [21.5] * devices,
        "humidity": [48.25] * devices,
        "pressure": [1013.25] * devices,
        "status": ["active"] * devices,
        "latitude": [40.5] * devices,
        "longitude": [27.25] * devices,
        "region": ["north"] * devices,
    }
    return pa.RecordBatch.from_pydict(columns, SCHEMA)


def _device(number: int) -> str:
    return f"weather_station_{number:06}"


if __name__ == "__main__":
    main()
