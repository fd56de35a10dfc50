"""What ClickHouse is asked while Redis is away, on the real parts."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

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
    """The real one; it counts what it is asked, and holds answers back while it shall."""

    asked = 0

    def __init__(self, settings: ClickHouseSettings):
        super().__init__(settings)
        self.has_answer = asyncio.Event()
        self.answer = asyncio.Event()
        self.answer.set()

    async def rows(self, sql: str, **parameters: Any) -> list[tuple[Any, ...]]:
        self.asked += 1
        found = await super().rows(sql, **parameters)
        self.has_answer.set()
        await self.answer.wait()
        return found


async def end(sql: Any, session: str) -> None:
    row = [session, "admin", "logout", datetime.now(UTC)]
    columns = ["session", "username", "reason", "revoked_at"]
    await sql.insert("revocations", [row], column_names=columns)


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


async def test_many_requests_of_many_sessions_cause_few_queries_and_an_end_is_known_at_once(
    away: Redis, database: Counted, sql: Any
) -> None:
    sessions = SessionCheck(away, database)
    asked = [f"session {n % 50}" for n in range(200)]
    assert set(await asyncio.gather(*map(sessions.stands, asked))) == {True}
    assert database.asked < 20, "they come back from Redis in a few groups"
    await end(sql, "session 7")
    stand = await asyncio.gather(*map(sessions.stands, asked))
    assert {session for session, stands in zip(asked, stand, strict=True) if not stands} == {
        "session 7"
    }


async def test_who_asks_after_a_session_ended_is_not_told_what_was_so_before(
    away: Redis, database: Counted, sql: Any
) -> None:
    """An answer that is under way already is not theirs: it may be older than the end."""
    sessions = SessionCheck(away, database)
    database.answer.clear()
    before = asyncio.create_task(sessions.stands("one"))
    await database.has_answer.wait()
    await end(sql, "one")
    after = asyncio.create_task(sessions.stands("one"))
    await asyncio.sleep(0.1)
    database.answer.set()
    assert await before
    assert not await after


async def test_when_neither_can_tell_all_who_ask_are_told_so(
    away: Redis, database: Counted, lines: Lines
) -> None:
    await lines.clickhouse.cut()
    sessions = SessionCheck(away, database)
    outcomes = await asyncio.gather(
        *(sessions.stands("one") for _ in range(10)), return_exceptions=True
    )
    assert {type(one) for one in outcomes} == {DatabaseAwayError}


async def test_a_redis_that_hangs_costs_one_timeout_and_then_a_second_of_nobody(
    lines: Lines,
) -> None:
    settings = RedisSettings.model_validate({**lines.sections["redis"], "timeout": 0.3})
    async with redis_adapter.connect(settings, wait=0.3, pause=1.0) as client:
        await client.set("k", "v")
        lines.redis.stall()
        began = time.monotonic()
        for _ in range(5):
            with pytest.raises(RedisError):
                await client.get("k")
        pipe = client.pipeline(transaction=False)
        pipe.get("k")
        with pytest.raises(RedisError):
            await pipe.execute()
        assert time.monotonic() - began < 0.6
        await lines.redis.mend()
        await asyncio.sleep(1.0)
        assert await client.get("k") == b"v"


async def test_a_gateway_whose_redis_hangs_answers_from_clickhouse_after_one_timeout(
    http: httpx.AsyncClient, lines: Lines, sql: Any
) -> None:
    await add_devices(sql, DEVICE)
    await add_reading(sql, 0)
    assert (await http.get("/api/v1/stats")).status_code == 200
    lines.redis.stall()
    async with asyncio.timeout(2.0):
        latest = await http.get(f"/api/v1/devices/{DEVICE}/metrics")
        stats = await http.get("/api/v1/stats")
    assert (latest.status_code, latest.headers["x-data-source"]) == (200, "clickhouse")
    assert stats.status_code == 200
    await lines.redis.mend()
