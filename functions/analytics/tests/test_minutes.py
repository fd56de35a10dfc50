"""Minutes that turn, are left out and come late: what is kept is what a recount gives."""

import asyncio
import random
from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from redis.asyncio import Redis

from sensor_analytics.state import DeviceStore
from sensor_shared.adapters.windows import WindowSettings, read_window
from sensor_shared.contracts.readings import METRICS
from sensor_shared.contracts.windows.layout import MINUTE_MS, devices_from, minutes_from

from .conftest import Row
from .replica import BEGIN, Replica

pytestmark = pytest.mark.integration

WINDOW = 5
STEPS_MS = (0, 500, 3_000, 20_000, 61_000, 130_000)
LATE_MS = (0, 0, 0, 1_000, 60_000, 200_000, 290_000, 600_000)


def readings(chance: random.Random) -> list[Row]:
    """Three devices that pause for minutes, once for longer than a window, and send late."""
    rows: dict[tuple[str, int], Row] = {}
    now = 0
    for number in range(60):
        now += 400_000 if number == 40 else chance.choice(STEPS_MS)
        for device in chance.sample("abc", 2):
            at = BEGIN + 600_000 + now - chance.choice(LATE_MS)
            humidity = None if chance.random() < 0.3 else 50.0
            rows.setdefault(
                (device, at), (device, at, float(chance.randint(-5, 30)), humidity, 1e3)
            )
    deliveries = list(rows.values())
    order = [(number + chance.uniform(0, 15), row) for number, row in enumerate(deliveries)]
    return [row for _, row in sorted(order)] + chance.sample(deliveries, len(deliveries) // 2)


class Recount:
    """All readings of which a device had not gone past their window when they came."""

    def __init__(self) -> None:
        self.latest: dict[str, int] = {}
        self.minutes: dict[tuple[str, int], dict[int, Row]] = defaultdict(dict)

    def take(self, rows: list[Row]) -> None:
        for device, at, *_ in rows:
            self.latest[device] = max(at, self.latest.get(device, 0))
        for row in rows:
            if row[1] // MINUTE_MS > self.latest[row[0]] // MINUTE_MS - WINDOW:
                self.minutes[row[0], row[1] // MINUTE_MS][row[1]] = row

    def window(self, device: str) -> list[list[tuple[int, int, int]]]:
        """Number, sum and sum of squares of each metric in each minute up to the newest."""
        last = self.latest[device] // MINUTE_MS
        return [
            [
                _summed(self.minutes.get((device, minute), {}).values(), m)
                for m in range(len(METRICS))
            ]
            for minute in range(last - WINDOW + 1, last + 1)
        ]


def _summed(rows: Any, metric: int) -> tuple[int, int, int]:
    values = [round(row[2 + metric] * 1000) for row in rows if row[2 + metric] is not None]
    return len(values), sum(values), sum(value * value for value in values)


@pytest.mark.parametrize("seed", range(4))
async def test_the_window_is_that_of_a_recount_after_each_step(
    redis: Redis, prefix: str, seed: int
) -> None:
    """Two replicas take the same events, now and then both at the same time."""
    chance = random.Random(seed)  # noqa: S311
    settings = WindowSettings(trend_window=WINDOW, prefix=prefix)
    replicas = [Replica(redis, prefix, trend_window=WINDOW) for _ in range(2)]
    rows, recount = readings(chance), Recount()
    while rows:
        count = chance.randint(1, 9)
        event, rows = rows[:count], rows[count:]
        recount.take(event)
        takers = replicas if chance.random() < 0.3 else replicas[:1]
        await asyncio.gather(*(replica.take(event) for replica in takers))
        for device in {row[0] for row in event}:
            found = await read_window(redis, settings, device)
            assert found is not None
            state, sums = found
            assert state["latest"][0] == recount.latest[device]
            assert [
                [
                    tuple(int(minute[name][m]) for name in ("n", "v", "vv"))
                    for m in range(len(METRICS))
                ]
                for minute in sums[0]
            ] == recount.window(device)
    await _each_moment_is_remembered_once(redis, prefix, recount)


async def _each_moment_is_remembered_once(redis: Redis, prefix: str, recount: Recount) -> None:
    """In the device's record those of its current minute, and in no other record these."""
    store = DeviceStore(redis, prefix, WINDOW)
    keys = list(recount.minutes)
    records = await store.minutes(keys)
    _, earlier = minutes_from(records)
    ids = sorted(recount.latest)
    _, _, current = devices_from(await store.devices(ids))
    own = {
        (device, recount.latest[device] // MINUTE_MS): moments
        for device, moments in zip(ids, current, strict=True)
    }
    for key, record, moments in zip(keys, records, earlier, strict=True):
        assert (record is None) == (key in own)
        kept = np.frombuffer(own.get(key, moments), "<u2")
        assert sorted(kept.tolist()) == sorted(at % MINUTE_MS for at in recount.minutes[key])
