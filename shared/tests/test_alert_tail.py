"""The stream of alerts' changes in the real Redis: what is held, and what is known to be lost."""

import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from sensor_shared.adapters.alert_tail import (
    BEGIN,
    AlertTail,
    Entry,
    EntryId,
    LostError,
    entry_id,
)
from sensor_shared.adapters.redis import RedisSettings, connect
from sensor_shared.contracts.alert_changes import (
    AlertChange,
    AlertSnapshot,
    ChangeKind,
    data_of,
)
from sensor_shared.contracts.rules import AlertType, Severity

NOW = datetime(2026, 11, 25, 10, tzinfo=UTC)
PLACES = st.integers(0, 2**64 - 1)


@pytest.fixture
async def redis(redis_server: Any) -> AsyncIterator[Redis]:
    async with connect(RedisSettings(port=redis_server.port, timeout=5)) as client:
        yield client


@pytest.fixture
async def prefix(redis: Redis) -> AsyncIterator[str]:
    made = uuid.uuid4().hex
    yield made
    await redis.delete(f"{made}:live")


def change(number: int) -> AlertChange:
    alert = AlertSnapshot(
        alert_id=f"{number}",
        device_id="flow_meter_1",
        rule_id="temperature-high",
        alert_type=AlertType.TEMPERATURE_HIGH,
        severity=Severity.HIGH,
        message="too hot",
        first_at=NOW,
        last_at=NOW,
    )
    return AlertChange(
        change_id=f"{number}", kind=ChangeKind.RAISED, at=NOW, by="system", alert=alert
    )


async def append(tail: AlertTail, *numbers: int, after_gap: bool = False) -> None:
    changes = [change(number) for number in numbers]
    await tail.append(changes, keep=1_000, after_gap=after_gap)


def data(*numbers: int) -> list[bytes]:
    return [data_of(change(number)) for number in numbers]


@pytest.mark.integration
async def test_pages_follow_one_another_from_the_begin_to_the_newest(
    redis: Redis, prefix: str
) -> None:
    tail = AlertTail(redis, prefix)
    assert await tail.newest() == BEGIN
    assert await tail.after(BEGIN, 10) == []
    await append(tail, *range(25))
    found: list[Entry] = []
    while page := await tail.after(found[-1].id if found else BEGIN, 10):
        assert len(page) <= 10
        found += page
    assert [entry.data for entry in found] == data(*range(25))
    assert found[-1].id == await tail.newest()
    assert found == sorted(found, key=lambda entry: entry.id)


@pytest.mark.integration
async def test_a_place_that_is_not_held_is_lost(redis: Redis, prefix: str) -> None:
    tail = AlertTail(redis, prefix)
    await append(tail, 0, 1, 2, 3)
    places = [entry.id for entry in await tail.after(BEGIN, 10)]
    await redis.xtrim(f"{prefix}:live", 2, approximate=False)
    for gone in (BEGIN, EntryId(1, 1), *places[:2]):
        with pytest.raises(LostError):
            await tail.after(gone, 10)
    assert [entry.data for entry in await tail.after(places[2], 10)] == data(3)
    await redis.delete(f"{prefix}:live")
    with pytest.raises(LostError):
        await tail.after(places[3], 10)


@pytest.mark.integration
async def test_a_gap_stands_before_what_is_appended_after_it(redis: Redis, prefix: str) -> None:
    tail = AlertTail(redis, prefix)
    await append(tail, 0)
    await append(tail, 1, 2, after_gap=True)
    found = [entry.data for entry in await tail.after(BEGIN, 10)]
    assert found == [*data(0), None, *data(1, 2)]


@given(ms=PLACES, sequence=PLACES)
def test_an_id_is_read_as_it_was_written(ms: int, sequence: int) -> None:
    place = EntryId(ms, sequence)
    assert entry_id(str(place)) == (None if place == BEGIN else place)


@given(st.text(max_size=40))
def test_what_is_no_id_is_none(text: str) -> None:
    found = entry_id(text)
    assert found is None or str(found) == text


@pytest.mark.parametrize(
    "text", ["", "1", "1-", "-1", "1-1-1", "01-1", "1-01", "+1-1", "1 -1", f"{2**64}-0", "٣-1"]
)
def test_what_redis_would_refuse_or_write_otherwise_is_no_id(text: str) -> None:
    assert entry_id(text) is None
