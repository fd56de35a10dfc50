"""Changes reach the stream in Redis: in order, at least once, and what does not is marked there."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from sensor_alerts.domain.alert import breach
from sensor_alerts.live import LiveChanges
from sensor_shared.adapters.alert_tail import BEGIN, AlertTail, Entry
from sensor_shared.adapters.redis import RedisSettings, connect
from sensor_shared.contracts.alert_changes import AlertChange, ChangeKind, change_id, read
from sensor_shared.testing.line import Line
from twinup.alert.v1 import alert_pb2

from .alert_world import REQUEST, RULES, World, credentials, device, eventually, request

pytestmark = pytest.mark.integration
KEEP = 1_000


@pytest.fixture
async def redis(lone_redis: RedisSettings) -> AsyncIterator[Redis]:
    async with connect(lone_redis) as client:
        yield client


@pytest.fixture
async def line(lone_redis: RedisSettings) -> AsyncIterator[Line]:
    made = Line(lone_redis.host, lone_redis.port)
    await made.mend()
    yield made
    await made.cut()


@pytest.fixture
async def tail(lone_redis: RedisSettings, line: Line) -> AsyncIterator[AlertTail]:
    """The stream as a process sees it whose line to Redis can be cut."""
    async with connect(lone_redis.model_copy(update={"port": line.port})) as client:
        yield AlertTail(client)


def change(version: int) -> AlertChange:
    now = datetime.now(UTC)
    alert = breach(REQUEST, RULES, now)
    id_ = change_id(alert.alert_id, version)
    return AlertChange(
        change_id=id_, kind=ChangeKind.UPDATED, at=now, by="system", note=f"{version}", alert=alert
    )


async def held(redis: Redis, prefix: str = "alerts") -> list[Entry]:
    return await AlertTail(redis, prefix).after(BEGIN, 100_000)


def notes(entries: list[Entry]) -> list[str]:
    """The notes of the changes; `gap` where some are missing."""
    return ["gap" if one.data is None else read(one.data).note for one in entries]


async def test_changes_are_streamed_in_the_order_in_which_they_are_told(
    tail: AlertTail, redis: Redis
) -> None:
    live = LiveChanges(tail, keep=KEEP)
    told = await asyncio.gather(*(live.tell(change(version)) for version in range(500)))
    assert told == [True] * 500
    assert notes(await held(redis)) == [str(version) for version in range(500)]


async def test_no_more_are_kept_than_wanted(tail: AlertTail, redis: Redis) -> None:
    """Redis cuts whole blocks of 100 entries or of 4 kB, so a block more may be there."""
    live = LiveChanges(tail, keep=KEEP)
    await asyncio.gather(*(live.tell(change(version)) for version in range(3_000)))
    assert KEEP <= await redis.xlen("alerts:live") <= KEEP + 100


async def test_what_waits_while_redis_is_away_is_streamed_when_it_is_back(
    tail: AlertTail, redis: Redis, line: Line
) -> None:
    live = LiveChanges(tail, keep=KEEP)
    await live.tell(change(0))
    await line.cut()
    telling = [asyncio.create_task(live.tell(change(version))) for version in range(1, 4)]
    await asyncio.sleep(0.3)
    assert not any(task.done() for task in telling)
    await line.mend()
    assert await asyncio.gather(*telling) == [True] * 3
    assert notes(await held(redis)) == ["0", "1", "2", "3"]


async def test_what_is_left_out_is_marked_as_missing(
    tail: AlertTail, redis: Redis, line: Line
) -> None:
    def left_out() -> float:
        return REGISTRY.get_sample_value("sensor_alerts_changes_not_streamed_total") or 0.0

    live, before = LiveChanges(tail, keep=KEEP, max_waiting=3), left_out()
    await line.cut()
    telling = [asyncio.create_task(live.tell(change(version))) for version in range(5)]
    await asyncio.sleep(0.2)
    assert [task.done() for task in telling] == [False] * 3 + [True] * 2
    await line.mend()
    told = await asyncio.gather(*telling)
    assert told == [True] * 3 + [False] * 2, "a later sweep tells of them"
    await live.tell(change(5))
    found = notes(await held(redis))
    assert [note for note in found if note != "gap"] == ["0", "1", "2", "5"]
    assert found.count("gap") == 1
    assert left_out() == before + 2


async def test_what_redis_forgot_when_it_crashed_is_marked_with_the_next_change(
    tail: AlertTail, redis: Redis
) -> None:
    """Who comes back with an id from before it would otherwise take the stream for whole."""
    live = LiveChanges(tail, keep=KEEP)
    for version in range(3):
        await live.tell(change(version))
    entries = await held(redis)
    await redis.xdel("alerts:live", *(str(entry.id) for entry in entries[1:]))
    for version in (3, 4):
        await live.tell(change(version))
    found = [notes([one])[0] for one in await AlertTail(redis).after(entries[0].id, 100)]
    assert found == ["3", "gap", "4"]


async def test_what_was_cut_off_for_its_age_is_not_missing(tail: AlertTail, redis: Redis) -> None:
    live, other = LiveChanges(tail, keep=KEEP), LiveChanges(AlertTail(redis), keep=KEEP)
    await live.tell(change(0))
    await asyncio.gather(*(other.tell(change(version)) for version in range(1, 3_000)))
    await live.tell(change(3_000))
    last: Any = await redis.xrevrange("alerts:live", count=1)
    assert b"change" in last[0][1]


async def test_who_ends_while_redis_is_away_says_that_it_was_not_done(
    tail: AlertTail, line: Line
) -> None:
    live = LiveChanges(tail, keep=KEEP)
    await line.cut()
    telling = [asyncio.create_task(live.tell(change(version))) for version in range(3)]
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await live.close()
        assert await asyncio.gather(*telling) == [False] * 3


async def test_every_change_in_the_life_of_an_alert_is_streamed(world: World, redis: Redis) -> None:
    service, about = await world.ready(), device()
    raised = await service.send(request(about))
    for call, note in (("AcknowledgeAlert", "on my way"), ("ClearAlert", "a test")):
        asked = alert_pb2.ChangeAlertRequest(alert_id=raised.alert_id, user="ann", note=note)
        await getattr(service.stub, call)(asked, metadata=credentials())

    async def streamed() -> list[AlertChange] | None:
        entries = await held(redis, world.prefix)
        return [read(one.data) for one in entries if one.data] if len(entries) == 3 else None

    found = await eventually(streamed)
    assert [one.kind for one in found] == ["raised", "acknowledged", "cleared"]
    assert [(one.by, one.note) for one in found[1:]] == [("ann", "on my way"), ("ann", "a test")]
    stored = await world.rows("SELECT change_id FROM alert_changes FINAL ORDER BY version")
    assert [one.change_id for one in found] == [id_ for (id_,) in stored]
