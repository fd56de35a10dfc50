"""The world of the measurement: gateway and auth as `make up` runs them, and 100,000 devices."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import msgspec
import psutil
import pyarrow as pa

from load.bench.api.client import Plan, Seen
from load.bench.flow.bed import Bed, BenchError
from load.bench.flow.gateway import log_in
from sensor_shared.adapters.latest import LatestReadings
from sensor_shared.adapters.redis import RedisSettings, connect
from sensor_shared.contracts.readings import DEVICE_TYPES, REGIONS, SCHEMA

PARTS: Final = ("clickhouse", "redis", "migrations", "auth", "gateway")
DEVICES: Final = 100_000
_BATCH: Final = 5_000
_ID: Final = "weather_station_{:06}"


@dataclass(frozen=True)
class Measured:
    """What the client saw, and what the gateway took for it.

    Attributes:
        seen: by the client.
        gateway_cores: CPU seconds per second.
    """

    seen: Seen
    gateway_cores: float

    @property
    def per_second(self) -> float:
        """Requests per second."""
        return self.seen.requests / self.seen.seconds

    @property
    def per_core(self) -> float:
        """Requests per second of the gateway's CPU time."""
        return self.per_second / self.gateway_cores

    def as_json(self) -> dict[str, Any]:
        """Returns what a report says about it."""
        return {
            "requests_per_second": round(self.per_second),
            "requests_per_core": round(self.per_core),
            "p50_ms": self.seen.p50_ms,
            "p99_ms": self.seen.p99_ms,
            "max_ms": self.seen.max_ms,
            "failed": self.seen.failed,
            "gateway_cores": round(self.gateway_cores, 3),
            "client_cores": self.seen.client_cores,
        }


class World:
    """Redis, ClickHouse, auth and gateway as processes; nothing of them is left at the end.

    Args:
        tell: takes one line for people.
    """

    def __init__(self, tell: Callable[[str], None]):
        self.tell = tell
        self.bed = Bed(PARTS, tell)

    def __enter__(self) -> Self:
        self.tell("api: starting Redis, ClickHouse, auth and gateway")
        self.bed.__enter__()
        try:
            self.token = log_in(self.bed.port["auth"], self.bed.secrets.admin_password)
        except BaseException:
            self.bed.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.bed.__exit__(kind, error, trace)

    def ids(self) -> list[str]:
        """Returns the ids of all devices, ascending."""
        return [_ID.format(number) for number in range(DEVICES)]

    def make_devices(self) -> None:
        """Puts the devices into ClickHouse, and a latest reading of each into Redis."""
        self.tell(f"api: making {DEVICES:,} devices")
        types = ", ".join(f"'{name}'" for name in DEVICE_TYPES)
        regions = ", ".join(f"'{name}'" for name in REGIONS)
        self.bed.query(f"""
            INSERT INTO devices SELECT
                concat('weather_station_', leftPad(toString(number), 6, '0')),
                [{types}][number % {len(DEVICE_TYPES)} + 1],
                [{regions}][intDiv(number, 7) % {len(REGIONS)} + 1],
                40 + number / 100000, 27 + number / 100000, now64(3)
            FROM numbers({DEVICES})""")  # noqa: S608 - our own constants
        self.renew_latest()

    def renew_latest(self) -> None:
        """Gives each device a latest reading of now: what Redis holds is old after five minutes."""
        asyncio.run(self._renew())

    async def _renew(self) -> None:
        password = self.bed.environment("gateway").get("TWINUP_REDIS_PASSWORD")
        now = time.time_ns() // 1_000_000
        settings = RedisSettings.model_validate(
            {"port": self.bed.port["redis"], "password": password}
        )
        async with connect(settings) as redis:
            latest = LatestReadings(redis)
            ids = self.ids()
            for start in range(0, len(ids), _BATCH):
                await latest.update(_readings(ids[start : start + _BATCH], start, now))

    def drive(
        self,
        paths: Sequence[str],
        *,
        connections: int,
        seconds: float,
        rate: float | None = None,
    ) -> Measured:
        """Has the client ask for the paths and returns what came of it.

        Raises:
            BenchError: when the client failed, or an answer was no 200.
        """
        plan = Plan(
            port=self.bed.port["gateway"],
            paths=list(paths),
            token=self.token,
            connections=connections,
            seconds=seconds,
            rate=rate,
        )
        gateway = psutil.Process(self.bed.pids()["gateway"])
        with subprocess.Popen(
            [sys.executable, "-m", "load.bench.api.client"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as client:
            if client.stdin is None or client.stdout is None:
                raise BenchError("the client has no pipes")
            client.stdin.write(msgspec.json.encode(plan))
            client.stdin.close()
            client.stdout.readline()  # the window begins
            before, began = gateway.cpu_times(), time.monotonic()
            line = client.stdout.readline()
            after, took = gateway.cpu_times(), time.monotonic() - began
        if client.returncode or not line:
            raise BenchError("the client of the gateway has failed")
        seen = msgspec.json.decode(line, type=Seen)
        if seen.failed or not seen.requests:
            raise BenchError(f"answers of the gateway that were no 200, by status: {seen.failed}")
        used = after.user + after.system - before.user - before.system
        return Measured(seen, used / took)


def _readings(ids: Sequence[str], first: int, now_ms: int) -> pa.RecordBatch:
    numbers = range(first, first + len(ids))
    columns = {
        "device_id": ids,
        "timestamp": [now_ms - number % 1_000 for number in numbers],
        "temperature": [20 + number % 1_000 / 100 for number in numbers],
        "humidity": [50 + number % 700 / 100 for number in numbers],
        "pressure": [1000 + number % 300 / 10 for number in numbers],
        "status": ["active"] * len(ids),
        "latitude": [40 + number / DEVICES for number in numbers],
        "longitude": [27 + number / DEVICES for number in numbers],
        "region": [REGIONS[number // 7 % len(REGIONS)] for number in numbers],
    }
    return pa.RecordBatch.from_pydict(columns, SCHEMA)
