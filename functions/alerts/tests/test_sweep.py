"""Sweeps on stored readings and on when devices were last seen, on the real parts."""

import asyncio
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
import yaml

from sensor_shared.adapters.database import Database
from sensor_shared.adapters.latest import LAST_SEEN
from sensor_shared.adapters.redis import connect

from .alert_world import Service, World, request

pytestmark = pytest.mark.integration


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def fresh(kind: str = "industrial_sensor") -> str:
    return f"{kind}_{uuid.uuid4().int % 10**9}"


def written(folder: Path, *rules: dict[str, Any], **more: Any) -> Path:
    file = folder / "alert-rules.yaml"
    file.write_text(yaml.safe_dump({"rules": list(rules), **more}))
    return file


def hot_rule(**fields: Any) -> dict[str, Any]:
    return {
        "id": "temperature-high",
        "alert_type": "TEMPERATURE_HIGH",
        "metric": "temperature",
        "above": 90,
        **fields,
    }


async def stored(world: World, device_id: str, *readings: tuple[int, float | None]) -> None:
    """Stores temperatures (humidity is always there) by their moments."""
    database = Database(world.settings.clickhouse)
    rows = [
        {
            "device_id": device_id,
            "timestamp": at_ms / 1000,
            "temperature": value,
            "humidity": 50.0,
            "pressure": None,
            "status": "active",
        }
        for at_ms, value in readings
    ]
    values = ", ".join(
        f"('{row['device_id']}', fromUnixTimestamp64Milli({at_ms}, 'UTC'), "
        f"{'NULL' if row['temperature'] is None else row['temperature']}, 50)"
        for row, (at_ms, _) in zip(rows, readings, strict=True)
    )
    try:
        client = await database._open()
        await client.command(
            f"INSERT INTO readings (device_id, timestamp, temperature, humidity) VALUES {values}"  # noqa: S608
        )
    finally:
        await database.close()


async def breached(service: Service, device_id: str, at_ms: int, value: float) -> str:
    """Reports a breach, as the consumer does once the reading is stored."""
    sent = request(device_id, temperature=value)
    sent.timestamp.FromMilliseconds(at_ms)
    answer = await service.send(sent)
    return answer.alert_id


async def state(world: World, device_id: str) -> list[tuple[str, str]]:
    return await world.rows(
        "SELECT toString(state), toString(severity) FROM alerts FINAL "  # noqa: S608
        f"WHERE device_id = '{device_id}'"
    )


async def kinds(world: World, device_id: str) -> list[str]:
    rows = await world.rows(
        "SELECT kind FROM alert_changes FINAL "  # noqa: S608
        f"WHERE device_id = '{device_id}' ORDER BY version"
    )
    return [kind for (kind,) in rows]


async def test_three_in_a_row_are_an_alert_and_two_are_none(world: World, tmp_path: Path) -> None:
    world.rules = written(tmp_path, hot_rule(times=3))
    service, three, two = await world.ready(), fresh(), fresh()
    begin = now_ms() - 10_000
    for who, values in ((three, [95, 96, 101, 80]), (two, [95, 96, 80, 80])):
        await stored(world, who, *((begin + n * 1_000, v) for n, v in enumerate(values)))
        for n, value in enumerate(values):
            if value > 90:
                await breached(service, who, begin + n * 1_000, value)
        assert await state(world, who) == [("pending", "MEDIUM")]
    assert (await service.history()).total_count == 0, "what is pending is no alert"
    await service.sweep()
    assert await state(world, three) == [("open", "HIGH")]
    assert await kinds(world, three) == ["raised"]
    assert (await state(world, two))[0][0] == "dropped"
    assert await kinds(world, two) == []
    await service.sweep()
    assert (await state(world, three))[0][0] == "cleared"


async def test_pending_alerts_survive_an_emptied_redis(world: World, tmp_path: Path) -> None:
    world.rules = written(tmp_path, hot_rule(**{"for": "3s"}))
    service, who = await world.ready(), fresh()
    begin = now_ms() - 10_000
    await stored(world, who, *((begin + n * 1_000, 95) for n in range(5)))
    await breached(service, who, begin, 95)
    async with connect(world.settings.redis) as redis:
        await redis.flushdb()
    await service.sweep()
    assert await state(world, who) == [("open", "MEDIUM")]


async def test_an_alert_ends_below_its_clear_threshold_and_not_between(
    world: World, tmp_path: Path
) -> None:
    world.rules = written(tmp_path, hot_rule(clear=85))
    service, who = await world.ready(), fresh()
    begin = now_ms() - 10_000
    await stored(world, who, (begin, 95), (begin + 1_000, 88))
    await breached(service, who, begin, 95)
    await service.sweep()
    assert (await state(world, who))[0][0] == "open"
    await stored(world, who, (begin + 2_000, 84))
    await service.sweep()
    assert (await state(world, who))[0][0] == "cleared"
    cleared = "SELECT toUnixTimestamp64Milli(cleared_at) FROM alerts FINAL"
    assert await world.rows(cleared) == [(begin + 2_000,)], "by the reading's own time"
    again = await breached(service, who, begin + 3_000, 99)
    assert await kinds(world, who) == ["raised", "cleared", "reopened"]
    assert (await service.history(device_id=who)).alerts[0].alert_id == again


async def test_breaches_of_alerts_that_are_over_change_nothing_when_they_are_replayed(
    world: World,
) -> None:
    """What a replay of sensor-data reports: the same breaches, with the same ids."""
    service, who = await world.ready(), fresh()
    begin, breaches = now_ms() - 3_600_000, []
    for at, value in ((0, 95.0), (1_000, 112.0), (600_000, 97.0)):
        sent = request(who, temperature=value)
        sent.timestamp.FromMilliseconds(begin + at)
        breaches.append(sent)
        await stored(world, who, (begin + at, value))
        await service.send(sent)
        await stored(world, who, (begin + at + 500, 20))
        await service.sweep()
    everything = (
        "SELECT alert_id, state, severity, count, value, cleared_at FROM alerts FINAL ORDER BY 1",
        "SELECT alert_id, version, kind, change_id FROM alert_changes FINAL ORDER BY 1, 2",
    )
    before = [await world.rows(sql) for sql in everything]
    assert (await state(world, who))[0][0] == "cleared"
    assert len(before[1]) >= 3, "raised and cleared, and once more"
    for sent in breaches:
        assert (await service.send(sent)).success
    await service.sweep()
    assert [await world.rows(sql) for sql in everything] == before


async def test_an_older_reading_that_comes_late_clears_nothing(world: World) -> None:
    service, who = await world.ready(), fresh()
    begin = now_ms() - 10_000
    await stored(world, who, (begin + 5_000, 95))
    await breached(service, who, begin + 5_000, 95)
    await stored(world, who, (begin, 20), (begin + 4_000, 20))
    await service.sweep()
    assert (await state(world, who))[0][0] == "open"


async def test_an_alert_becomes_less_severe_after_a_calm_minute(world: World) -> None:
    service, who = await world.ready(), fresh()
    begin = now_ms() - 90_000
    await stored(world, who, (begin, 111), *((begin + n * 1_000, 92) for n in range(1, 62)))
    await breached(service, who, begin, 111)
    await breached(service, who, begin + 61_000, 92)
    await service.sweep()
    assert await state(world, who) == [("open", "LOW")]
    assert await kinds(world, who) == ["raised", "updated"]


async def test_an_alert_of_a_detector_ends_when_it_is_quiet(world: World) -> None:
    pace = world.settings.pace.model_copy(update={"deduplication": 1.0})
    service, who = await world.ready(pace=pace), fresh()
    sent = request(who, metadata={"rule": "somebody-s-detector"})
    await service.send(sent)
    await service.sweep()
    assert (await state(world, who))[0][0] == "cleared"


async def test_rates_and_missing_values_are_found_among_all_devices(
    world: World, tmp_path: Path
) -> None:
    world.rules = written(
        tmp_path,
        hot_rule(id="warming", above=None, rising=10, window="60s") | {},
        {
            "id": "no-temperature",
            "alert_type": "SENSOR_MALFUNCTION",
            "metric": "temperature",
            "missing": "60s",
            "severity": "HIGH",
            "scope": {"device_type": "industrial_sensor"},
        },
    )
    service = await world.ready()
    steep, flat, empty, other = fresh(), fresh(), fresh(), fresh("humidity_sensor")
    begin = now_ms() - 50_000
    for n in range(0, 50, 5):
        at = begin + n * 1_000
        await stored(world, steep, (at, 20 + n))
        await stored(world, flat, (at, 20 + n / 100))
        await stored(world, empty, (at, None))
        await stored(world, other, (at, None))
    await service.sweep()
    assert await kinds(world, steep) == ["raised"]
    assert await kinds(world, empty) == ["raised"]
    assert await kinds(world, flat) == await kinds(world, other) == []
    await stored(world, empty, (now_ms(), 21))
    await service.sweep()
    assert await kinds(world, empty) == ["raised", "cleared"]


SILENCE = [{"id": "device-offline", "every": "1s", "intervals": 60}]


async def seen(world: World, moments: dict[str, int]) -> None:
    async with connect(world.settings.redis) as redis:
        await redis.zadd(LAST_SEEN, moments)


async def offline(world: World) -> list[tuple[str, str, int]]:
    return await world.rows(
        "SELECT device_id, toString(state), members FROM alerts FINAL "
        "WHERE alert_type = 'DEVICE_OFFLINE' ORDER BY device_id"
    )


async def regions(world: World, devices: dict[str, str]) -> None:
    database = Database(world.settings.clickhouse)
    values = ", ".join(
        f"('{id_}', 'industrial_sensor', '{region}')" for id_, region in devices.items()
    )
    try:
        client = await database._open()
        await client.command(
            f"INSERT INTO devices (device_id, device_type, region) VALUES {values}"  # noqa: S608
        )
    finally:
        await database.close()


async def test_a_silent_device_is_an_alert_within_one_sweep_and_ends_it_itself(
    world: World, tmp_path: Path
) -> None:
    world.rules = written(tmp_path, silence=SILENCE)
    service, silent, sends = await world.ready(), fresh(), fresh()
    last = now_ms() - 61_000 - 10_000
    await seen(world, {silent: last, sends: now_ms()})
    await service.sweep()
    assert await offline(world) == [(silent, "open", 0)]
    await service.sweep()
    assert await kinds(world, silent) == ["raised"]
    await seen(world, {silent: now_ms()})
    await service.sweep()
    assert await offline(world) == [(silent, "cleared", 0)]
    assert await kinds(world, silent) == ["raised", "cleared"]


async def test_how_long_a_device_may_be_silent_depends_on_the_most_special_rule(
    world: World, tmp_path: Path
) -> None:
    hourly = {
        "id": "slow-devices",
        "every": "1h",
        "intervals": 3,
        "scope": {"device_type": "weather_station"},
    }
    world.rules = written(tmp_path, silence=[*SILENCE, hourly])
    service, slow, quick = await world.ready(), fresh("weather_station"), fresh()
    await seen(world, dict.fromkeys((slow, quick), now_ms() - 7_200_000))
    await service.sweep()
    assert await offline(world) == [(quick, "open", 0)]


async def test_a_region_that_falls_silent_is_one_alert_until_nearly_all_of_it_is_back(
    world: World, tmp_path: Path
) -> None:
    world.rules = written(tmp_path, silence=SILENCE)
    silent = world.settings.smtp.model_copy(update={"recipients": ()})
    service = await world.ready(smtp=silent)
    west, east = [fresh() for _ in range(60)], [fresh() for _ in range(100)]
    await regions(world, dict.fromkeys(west, "west") | dict.fromkeys(east, "east"))
    long_ago = now_ms() - 75_000
    await seen(world, dict.fromkeys(west, long_ago) | dict.fromkeys(east, now_ms()))
    await service.sweep()
    assert await offline(world) == [("region:west", "open", 60)]
    await seen(world, dict.fromkeys(west[:30], now_ms()))
    await asyncio.sleep(world.settings.pace.update)
    await service.sweep()
    assert await offline(world) == [("region:west", "open", 30)]
    await seen(world, dict.fromkeys(west[:58], now_ms()))
    await service.sweep()
    alone = sorted((one, "open", 0) for one in west[58:])
    assert await offline(world) == [*alone, ("region:west", "cleared", 30)]


async def test_when_nobody_sends_there_is_one_alert_for_the_fleet(
    world: World, tmp_path: Path
) -> None:
    """The ingest is down, or far behind: the devices are not to blame."""
    world.rules = written(tmp_path, silence=SILENCE)
    service = await world.ready()
    devices = [fresh() for _ in range(200)]
    await regions(world, {one: f"r{n % 4}" for n, one in enumerate(devices)})
    begin = now_ms()
    # Some reach the limit before others: no alert is raised for the first ones.
    await seen(world, {one: begin - 55_000 - n * 100 for n, one in enumerate(devices)})
    await service.sweep()
    assert await offline(world) == [("fleet", "open", 200)]
    (message,) = await world.rows("SELECT message FROM alerts FINAL")
    assert message == ("no data from the fleet: all 200 devices are silent",)
    await seen(world, dict.fromkeys(devices, now_ms()))
    await service.sweep()
    assert await offline(world) == [("fleet", "cleared", 200)]


QUICK = [{"id": "device-offline", "every": "1s", "intervals": 3}]
"""A limit that tests can wait for."""


async def test_a_system_that_comes_back_blames_no_device_and_finds_who_stays_away(
    world: World, tmp_path: Path
) -> None:
    """It was down as a whole, and the devices return in two waves, one before each sweep."""
    world.rules = written(tmp_path, silence=QUICK)
    before = await world.ready()
    devices = [fresh() for _ in range(200)]
    await regions(world, {one: f"r{n % 4}" for n, one in enumerate(devices)})
    await seen(world, dict.fromkeys(devices, now_ms()))
    await before.sweep()
    await asyncio.sleep(3.5)
    after = await world.ready()
    await seen(world, dict.fromkeys(devices[:132], now_ms()))
    await after.sweep()
    assert await offline(world) == [], "a third is silent for longer than the limit"
    *back, gone = devices
    await seen(world, dict.fromkeys(back, now_ms()))
    await after.sweep()
    assert await offline(world) == []
    await asyncio.sleep(3.2)
    await seen(world, dict.fromkeys(back, now_ms()))
    await after.sweep()
    assert await offline(world) == [(gone, "open", 0)], "one limit after the others were back"


async def test_a_region_that_stays_away_when_the_others_are_back_is_one_alert(
    world: World, tmp_path: Path
) -> None:
    world.rules = written(tmp_path, silence=QUICK)
    service = await world.ready()
    west, east = [fresh() for _ in range(60)], [fresh() for _ in range(100)]
    await regions(world, dict.fromkeys(west, "west") | dict.fromkeys(east, "east"))
    await seen(world, dict.fromkeys(west + east, now_ms()))
    await service.sweep()
    await asyncio.sleep(3.2)
    await seen(world, dict.fromkeys(east, now_ms()))
    await service.sweep()
    assert await offline(world) == []
    await asyncio.sleep(3.2)
    await seen(world, dict.fromkeys(east, now_ms()))
    await service.sweep()
    assert await offline(world) == [("region:west", "open", 60)]


async def test_a_fleet_that_was_silent_is_one_alert_until_nearly_all_of_it_is_back(
    world: World, tmp_path: Path
) -> None:
    """The alert of the fleet ends by who is back; the few that are left are not raised at once."""
    world.rules = written(tmp_path, silence=QUICK)
    service = await world.ready()
    devices = [fresh() for _ in range(100)]
    await seen(world, dict.fromkeys(devices, now_ms()))
    await service.sweep()
    await asyncio.sleep(3.2)
    await service.sweep()
    assert await offline(world) == [("fleet", "open", 100)]
    await seen(world, dict.fromkeys(devices[:60], now_ms()))
    await service.sweep()
    assert await offline(world) == [("fleet", "open", 40)]
    await seen(world, dict.fromkeys(devices[:95], now_ms()))
    await service.sweep()
    assert await offline(world) == [("fleet", "cleared", 40)]


async def test_readings_that_are_far_behind_end_no_pause(world: World, tmp_path: Path) -> None:
    """A backlog is drained: it comes in the order of its time, of some devices before others."""
    world.rules = written(tmp_path, silence=SILENCE)
    service = await world.ready()
    devices = [fresh() for _ in range(100)]
    begin = now_ms() - 300_000
    await seen(world, dict.fromkeys(devices, begin))
    for behind in (280_000, 180_000, 80_000):
        await seen(world, dict.fromkeys(devices[:70], now_ms() - behind))
        await service.sweep()
    await seen(world, dict.fromkeys(devices[:85], now_ms()))
    await service.sweep()
    states = await offline(world)
    assert [(who, state) for who, state, _ in states] == [("fleet", "cleared")]


async def test_few_devices_that_are_silent_are_alerts_each_whether_others_send_or_not(
    world: World, tmp_path: Path
) -> None:
    world.rules = written(tmp_path, silence=QUICK)
    service = await world.ready()
    first, second, third = sorted(fresh() for _ in range(3))
    await seen(world, {third: now_ms()})
    for _ in range(5):
        await seen(world, dict.fromkeys((first, second), now_ms()))
        await service.sweep()
        await asyncio.sleep(0.8)
    await seen(world, dict.fromkeys((first, second), now_ms()))
    await service.sweep()
    assert await offline(world) == [(third, "open", 0)]
    await asyncio.sleep(3.2)
    await service.sweep()
    assert await offline(world) == [(one, "open", 0) for one in (first, second, third)]


async def test_a_fleet_of_one_device_is_raised_and_cleared_and_raised_again(
    world: World, tmp_path: Path
) -> None:
    world.rules = written(tmp_path, silence=QUICK)
    pace = world.settings.pace.model_copy(update={"deduplication": 1.0})
    service, who = await world.ready(pace=pace), fresh()
    for _ in range(2):
        await seen(world, {who: now_ms()})
        await service.sweep()
        await asyncio.sleep(3.2)
        await service.sweep()
    assert sorted(await offline(world)) == [(who, "cleared", 0), (who, "open", 0)]


async def test_a_pause_that_redis_has_lost_is_found_among_the_stored_readings(
    world: World, tmp_path: Path
) -> None:
    world.rules = written(tmp_path, silence=SILENCE)
    service, back, away = await world.ready(), fresh(), fresh()
    now = now_ms()
    for who, moments in ((back, (-75, -74, -1, 0)), (away, (-75, -74))):
        await stored(world, who, *((now + 1_000 * moment, 20) for moment in moments))
    await seen(world, {back: now, away: now - 74_000})
    await service.sweep()
    assert await offline(world) == []


async def test_who_is_back_before_its_turn_is_not_raised(world: World, tmp_path: Path) -> None:
    """There are so many that raising them takes a while."""
    world.rules = written(tmp_path, silence=SILENCE)
    silent = world.settings.smtp.model_copy(update={"recipients": ()})
    service = await world.ready(smtp=silent)
    late, sends = [fresh() for _ in range(900)], [fresh() for _ in range(1_000)]
    await seen(world, dict.fromkeys(late, now_ms() - 75_000) | dict.fromkeys(sends, now_ms()))
    sweep = asyncio.create_task(service.sweep())
    async with connect(world.settings.redis) as redis:
        while not await redis.scard(f"{world.prefix}:watched"):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        await redis.zadd(LAST_SEEN, dict.fromkeys(late, now_ms()))
    await sweep
    assert 0 < len(await offline(world)) < 300


async def test_sweeps_at_ten_replicas_at_once_do_nothing_twice(
    world: World, tmp_path: Path
) -> None:
    world.rules = written(tmp_path, hot_rule(), silence=SILENCE)
    services = [await world.ready() for _ in range(10)]
    silent, hot = [fresh() for _ in range(5)], fresh()
    await seen(world, dict.fromkeys(silent, now_ms() - 75_000) | {fresh(): now_ms()})
    begin = now_ms() - 5_000
    await stored(world, hot, (begin, 95), (begin + 1_000, 20))
    await breached(services[0], hot, begin, 95)
    for _ in range(3):
        await asyncio.gather(*(service.sweep() for service in services))
    assert await kinds(world, hot) == ["raised", "cleared"]
    for one in silent:
        assert await kinds(world, one) == ["raised"]


async def test_after_redis_was_emptied_devices_that_never_come_back_are_found(
    world: World, tmp_path: Path
) -> None:
    """The rollups know when they were last seen, to the minute."""
    world.rules = written(tmp_path, silence=SILENCE)
    service, gone = await world.ready(), fresh()
    database = Database(world.settings.clickhouse)
    client = await database._open()
    await client.command(
        "INSERT INTO readings_minute (device_id, time, readings, version) "  # noqa: S608
        f"VALUES ('{gone}', now() - INTERVAL 10 MINUTE, 60, now64(6))"
    )
    await database.close()
    await service.sweep()
    assert await offline(world) == [(gone, "open", 0)]


async def test_a_device_that_was_taken_away_is_not_waited_for(world: World, tmp_path: Path) -> None:
    world.rules = written(tmp_path, silence=SILENCE, silence_groups={"forget_after": "2m"})
    service, gone = await world.ready(), fresh()
    await seen(world, {gone: now_ms() - 3_600_000})
    await service.sweep()
    assert await offline(world) == []


async def test_rules_that_change_count_from_the_next_sweep_on(world: World, tmp_path: Path) -> None:
    rules = world.settings.rules.model_copy(update={"check": 0.05})
    world.rules = written(tmp_path, hot_rule())
    service, who = await world.ready(rules=rules), fresh()
    begin = now_ms() - 5_000
    await stored(world, who, (begin, 95), (begin + 1_000, 89))
    await breached(service, who, begin, 95)
    written(tmp_path, hot_rule(clear=70))
    await asyncio.sleep(0.3)
    await service.sweep()
    assert (await state(world, who))[0][0] == "open"
    world.rules.write_text("rules: [{}]")
    await asyncio.sleep(0.3)
    (trouble,) = service.function.troubles()
    assert "alert-rules.yaml" in trouble
    written(tmp_path, hot_rule(clear=89))
    await asyncio.sleep(0.3)
    assert service.function.troubles() == []
    await service.sweep()
    assert (await state(world, who))[0][0] == "cleared"
