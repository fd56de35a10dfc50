"""Steps on the real Redis: redelivery, several replicas, lines that break."""

import asyncio
import random
from typing import Any

import numpy as np
import pytest
from redis.asyncio import Redis

from sensor_analytics.state import DeviceStore
from sensor_shared.adapters.redis import RedisSettings, connect
from sensor_shared.contracts.errors import Retry
from sensor_shared.contracts.events import rfc3339_ms
from sensor_shared.contracts.windows.layout import MINUTE_MS, devices_from, minutes_from
from sensor_shared.testing.line import Line

from .conftest import Row
from .replica import BEGIN, Replica

pytestmark = pytest.mark.integration

IDS = [f"temperature_sensor_{number:06d}" for number in range(40)]


@pytest.fixture(autouse=True)
def _in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read of the devices of one step takes many commands, others write in between."""
    monkeypatch.setattr("sensor_shared.adapters.windows._KEYS_PER_COMMAND", 7)


def events(seconds: int, *, size: int = 25, seed: int = 1) -> list[list[Row]]:
    """A reading a second of each device, noisy, in events of `size`."""
    generator = np.random.default_rng(seed)
    rows: list[Row] = [
        (
            device,
            BEGIN + 1_000 * second + number,
            round(20 + generator.normal(0, 0.1), 2),
            None if generator.random() < 0.1 else round(55 + generator.normal(0, 0.3), 2),
            round(1013 + generator.normal(0, 0.1), 2),
        )
        for second in range(seconds)
        for number, device in enumerate(IDS)
    ]
    return [rows[at : at + size] for at in range(0, len(rows), size)]


def shuffle(deliveries: list[list[Row]], seed: int) -> None:
    random.Random(seed).shuffle(deliveries)  # noqa: S311


async def state(redis: Redis, prefix: str, seconds: int) -> dict[str, Any]:
    """All that is remembered, but for the tokens and the order of the counted moments."""
    store = DeviceStore(redis, prefix, 15)
    minutes = range(BEGIN // MINUTE_MS, (BEGIN + 1_000 * seconds) // MINUTE_MS + 1)
    keys = [(device, minute) for device in IDS for minute in minutes]
    devices, *current = devices_from(await store.devices(IDS))
    earlier = minutes_from(await store.minutes(keys))
    kept: list[Any] = [current, earlier]
    return {
        "latest": devices["latest"].tolist(),
        "last": [devices["last_at"].tolist(), devices["last"].tolist()],
        "minutes": [
            (sums.tobytes(), [sorted(np.frombuffer(seen, "<u2").tolist()) for seen in moments])
            for sums, moments in kept
        ],
    }


@pytest.fixture
async def expected(redis: Redis, prefix: str) -> dict[str, Any]:
    """What one replica remembers that gets every event once, in order."""
    one = Replica(redis, f"{prefix}-alone")
    for rows in events(70):
        await one.take(rows)
    return await state(redis, f"{prefix}-alone", 70)


async def test_redelivered_and_shuffled_events_change_nothing(
    redis: Redis, prefix: str, expected: dict[str, Any]
) -> None:
    replica = Replica(redis, prefix)
    deliveries = events(70) * 2
    shuffle(deliveries, 3)
    for at in range(0, len(deliveries), 7):
        await replica.take(*deliveries[at : at + 7])
    assert await state(redis, prefix, 70) == expected


async def test_replicas_that_work_on_the_same_devices_at_the_same_time_lose_nothing(
    redis_server: Any, redis: Redis, prefix: str, expected: dict[str, Any]
) -> None:
    """Four replicas with connections of their own get all events twice, in any order."""
    settings = RedisSettings(host=redis_server.host, port=redis_server.port, timeout=10)
    clients = [connect(settings) for _ in range(4)]
    replicas = [Replica(client, prefix) for client in clients]
    deliveries = events(70) * 2
    shuffle(deliveries, 4)
    waiting = iter(deliveries)

    async def work(replica: Replica) -> None:
        for rows in waiting:
            while True:  # as the source delivers again after a Retry
                try:
                    await replica.take(rows)
                    break
                except Retry:
                    await asyncio.sleep(0.01)

    await asyncio.gather(*(work(replica) for replica in replicas))
    assert await state(redis, prefix, 70) == expected
    for client in clients:
        await client.aclose()


async def test_several_replicas_publish_each_trend_and_each_change_once(
    redis_server: Any, prefix: str
) -> None:
    """The same readings at the same time in all replicas: one of them speaks."""
    settings = RedisSettings(host=redis_server.host, port=redis_server.port, timeout=10)
    clients = [connect(settings) for _ in range(4)]
    replicas = [Replica(client, prefix, trend_interval=60) for client in clients]
    for second in (0, 61):
        rows: list[Row] = [
            (device, BEGIN + 1_000 * second + 1, 20.0 + second, None, None) for device in IDS
        ]
        for replica in replicas:
            replica.now_ms = BEGIN + 1_000 * second
        await asyncio.gather(*(replica.take(rows) for replica in replicas))
    trends = [message["device_id"] for replica in replicas for message in replica.of("trend")]
    deltas = [message["device_id"] for replica in replicas for message in replica.of("delta")]
    assert sorted(trends) == IDS
    assert sorted(deltas) == IDS
    for client in clients:
        await client.aclose()


@pytest.mark.parametrize("after_bytes", [0, 2_000, 60_000, 120_000])
async def test_a_delivery_that_was_cut_off_counts_once_when_it_comes_again(
    redis_server: Any, redis: Redis, prefix: str, expected: dict[str, Any], after_bytes: int
) -> None:
    """The line breaks after a while; each event that fails is delivered again."""
    line = BreakingLine(redis_server.host, redis_server.port)
    await line.mend()
    client = connect(RedisSettings(port=line.port))
    replica = Replica(client, prefix)
    failures = 0
    for number, rows in enumerate(events(70)):
        if number % 20 == 0:
            line.break_after(after_bytes)
        while True:
            try:
                await replica.take(rows)
                break
            except Retry:
                failures += 1
                line.break_after(None)
                await line.cut()
                await line.mend()
    assert failures > 0
    assert await state(redis, prefix, 70) == expected
    await client.aclose()
    await line.cut()


async def test_a_trend_is_published_in_its_turn_or_when_its_direction_changes(
    redis: Redis, prefix: str
) -> None:
    replica = Replica(redis, prefix, trend_interval=600, trend_check=1, delta_interval=1_000_000)
    device = "industrial_sensor_000004"

    async def minute(number: int, per_hour: float) -> list[dict[str, Any]]:
        replica.published.clear()
        for second in range(0, 60, 2):
            at = 60 * number + second
            replica.now_ms = BEGIN + 1_000 * at
            value = round(60 + per_hour * second / 3600, 3)
            await replica.take([(device, BEGIN + 1_000 * at, value, None, None)])
        return replica.of("trend")

    assert await minute(0, 0.0) == []
    (message,) = await minute(1, 100.0)
    assert message["device_id"] == device
    assert list(message["metrics"]) == ["temperature"]
    assert message["metrics"]["temperature"]["direction"] == "rising"
    assert message["metrics"]["temperature"]["unit"] == "°C"
    assert message["window"] == {
        "start": "2026-11-23T19:19:00.000Z",
        "end": message["timestamp"],
    }


async def test_trends_are_fitted_over_all_minutes_of_the_window(redis: Redis, prefix: str) -> None:
    """20 minutes of readings: the line is that of numpy over the last 15 calendar minutes."""
    replica = Replica(redis, prefix, trend_interval=60, trend_check=60)
    generator = np.random.default_rng(5)
    moments = np.arange(0, 20 * 60, 5)
    values = np.round(50 + 0.002 * moments + generator.normal(0, 0.1, len(moments)), 3)
    device = "humidity_sensor_000001"
    for at, value in zip(moments.tolist(), values.tolist(), strict=True):
        replica.now_ms = BEGIN + 1_000 * at
        await replica.take([(device, BEGIN + 1_000 * at, None, value, None)])
    message = replica.of("trend")[-1]
    end = message["metrics"]["humidity"]
    newest = (
        5 * len([m for m in moments.tolist() if timestamp(1_000 * m) <= message["timestamp"]]) - 5
    )
    kept = (moments <= newest) & (moments // 60 > newest // 60 - 15)
    slope, _ = np.polyfit(moments[kept] / 3600, values[kept], 1)
    assert end["points"] == int(kept.sum())
    assert end["slope_per_hour"] == pytest.approx(slope, rel=1e-5)
    assert end["mean"] == pytest.approx(values[kept].mean(), rel=1e-6)
    assert end["direction"] == "rising"
    assert len(replica.of("trend")) in (19, 20)


def timestamp(offset_ms: int) -> str:
    return rfc3339_ms(BEGIN + offset_ms)


async def test_deltas_of_a_device_keep_their_distance(redis: Redis, prefix: str) -> None:
    replica = Replica(redis, prefix, delta_interval=10)
    for second in range(25):
        replica.now_ms = BEGIN + 1_000 * second
        value = 20.0 + 5 * (second % 2)
        await replica.take([("a", BEGIN + 1_000 * second, value, None, None)])
    deltas = replica.of("delta")
    assert [message["timestamp"][17:19] for message in deltas] == ["01", "11", "21"]
    assert deltas[0] == {
        "device_id": "a",
        "timestamp": "2026-11-23T19:32:01.000Z",
        "threshold": 2.0,
        "metrics": {
            "temperature": {
                "unit": "°C",
                "value": 25.0,
                "previous": 20.0,
                "change": 5.0,
                "timestamp": "2026-11-23T19:32:01.000Z",
                "previous_timestamp": "2026-11-23T19:32:00.000Z",
            }
        },
    }


async def test_with_redis_away_a_step_asks_for_another_delivery(redis_server: Any) -> None:
    line = Line(redis_server.host, redis_server.port)
    await line.mend()
    await line.cut()
    client = connect(RedisSettings(port=line.port))
    with pytest.raises(Retry, match="redis"):
        await Replica(client, "away").take([("a", BEGIN, 1.0, None, None)])
    await client.aclose()


class BreakingLine(Line):
    """A line that breaks when some more bytes of answers have passed."""

    _left: int | None = None

    def break_after(self, count: int | None) -> None:
        """Sets how many bytes may still come back; None for any."""
        self._left = count

    async def _pass(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            while chunk := await source.read(4_096):
                if self._left is not None:
                    self._left -= len(chunk)
                    if self._left < 0:
                        for writer in list(self._open):
                            writer.transport.abort()
                        break
                target.write(chunk)
                await target.drain()
        except OSError:
            pass
        target.close()
        self._open.discard(target)
