"""How long a sweep takes over a fleet that sends, and over one that is silent."""

import time
import urllib.request
from collections.abc import Iterator

import redis

from load.bench.flow.bed import Bed
from sensor_shared.adapters.latest import LAST_SEEN
from sensor_shared.contracts.events import PING, new_id

REGIONS = ("north", "south", "east", "west", "central")
_SOME = 10_000


def sweeps(bed: Bed, devices: int, count: int = 5) -> Iterator[tuple[str, float]]:
    """Yields a name and the milliseconds of one sweep, the best of some, for each state.

    Args:
        bed: runs clickhouse, redis, kafka and alerts.
        devices: of the fleet.
        count: of sweeps in each state.
    """
    ids = [f"weather_station_{number:06}" for number in range(devices)]
    for start in range(0, devices, _SOME):
        rows = ", ".join(
            f"('{id_}', 'weather_station', '{REGIONS[number % len(REGIONS)]}')"
            for number, id_ in enumerate(ids[start : start + _SOME])
        )
        bed.query(
            "INSERT INTO devices (device_id, device_type, region) "  # noqa: S608  (our own values)
            f"VALUES {rows}"
        )
    connection = redis.Redis(
        port=bed.port["redis"], password=bed.environment("alerts").get("TWINUP_REDIS_PASSWORD")
    )
    for name, age_ms in (("everybody sends", 0), ("everybody is silent", 75_000)):
        taken = []
        for _ in range(count):
            now_ms = time.time_ns() // 1_000_000
            for start in range(0, devices, _SOME):
                moments = dict.fromkeys(ids[start : start + _SOME], now_ms - age_ms)
                connection.zadd(LAST_SEEN, moments)
            started = time.perf_counter()
            sweep(bed)
            taken.append((time.perf_counter() - started) * 1000)
        yield f"{devices:,} devices, {name}: first", taken[0]
        yield f"{devices:,} devices, {name}: best of {count}", min(taken)


def sweep(bed: Bed) -> None:
    """Posts what the PingSource does and returns when it is answered."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{bed.port['alerts_http']}/",
        data=b'{"task": "alert-sweep"}',
        headers={
            "ce-specversion": "1.0",
            "ce-id": new_id(),
            "ce-source": "/bench",
            "ce-type": PING,
            "content-type": "application/json",
        },
    )
    with urllib.request.urlopen(request, timeout=60):  # noqa: S310
        pass
