"""What ClickHouse is asked while Redis is away, on the real parts."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from redis.asyncio import Redis

from sensor_gateway.readings import Readings
from sensor_shared.adapters import redis as redis_adapter
from sensor_shared.adapters.clickhouse import ClickHouseSettings
from sensor_shared.adapters.database import Database, DatabaseAwayError
from sensor_shared.adapters.redis import RedisSettings
from sensor_shared.adapters.sessions import SessionCheck
from sensor_shared.testing.parts import Lines

from .conftest import DEVICE, add_devices, add_reading

pytestmark = pytest.mark.integration


class Counted(Database):
    """The real one; it counts what it is asked."""

    asked = 0

    async def rows(self, sql: str, **parameters: Any) -> list[tuple[Any, ...]]:
        self.asked += 1
        return await super().rows(sql, **parameters)


@pytest.fixture
async def database(lines: Lines) -> AsyncIterator[Counted]:
    made = Counted(ClickHouseSettings.model_validate(lines.sections["clickhouse"]))
    yield made
    await made.close()


@pytest.fixture
async def away(lines: Lines) -> AsyncIterator[Redis]:
    """A client of a Redis that is away."""
    await lines.redis.cut()
    async with redis_adapter.connect(
        RedisSettings.model_validate(lines.sections["redis"])
    ) as client:
        yield client


async def test_many_who_want_the_latest_reading_of_a_device_cause_one_pair_of_queries(
    database: Counted, sql: Any
) -> None:
    await add_devices(sql, DEVICE)
    await add_reading(sql, 0)
    readings = Readings(database)
    documents = await asyncio.gather(*(readings.latest(DEVICE) for _ in range(100)))
    assert database.asked == 2
    assert len(set(documents)) == 1
    assert documents[0] is not None
    await add_reading(sql, 1_000)
    assert await readings.latest(DEVICE) != documents[0], "it was kept"


async def test_many_requests_of_a_session_cause_one_query_and_its_end_is_known_at_once(
    away: Redis, database: Counted, sql: Any
) -> None:
    sessions = SessionCheck(away, database)
    assert set(await asyncio.gather(*(sessions.stands("one") for _ in range(100)))) == {True}
    assert database.asked < 10, "they come back from Redis in a few groups"
    row = ["one", "admin", "logout", datetime.now(UTC)]
    columns = ["session", "username", "reason", "revoked_at"]
    await sql.insert("revocations", [row], column_names=columns)
    assert not await sessions.stands("one")


async def test_when_neither_can_tell_all_who_ask_are_told_so(
    away: Redis, database: Counted, lines: Lines
) -> None:
    await lines.clickhouse.cut()
    sessions = SessionCheck(away, database)
    outcomes = await asyncio.gather(
        *(sessions.stands("one") for _ in range(10)), return_exceptions=True
    )
    assert {type(one) for one in outcomes} == {DatabaseAwayError}
