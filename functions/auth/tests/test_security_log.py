"""The security log on the real ClickHouse, there and away."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from sensor_auth.domain import SecurityEvent
from sensor_auth.security_log import SecurityLog
from sensor_shared.adapters.clickhouse import ClickHouseSettings
from sensor_shared.adapters.database import Database
from sensor_shared.telemetry import metrics
from sensor_shared.testing.parts import Lines

pytestmark = pytest.mark.integration
_ALL = "SELECT event, username, actor, detail FROM security_events FINAL ORDER BY time, id"


@pytest.fixture
async def through_line(lines: Lines) -> AsyncIterator[Database]:
    made = Database(ClickHouseSettings.model_validate(lines.sections["clickhouse"]))
    yield made
    await made.close()


def lost() -> float:
    return float(metrics.SECURITY_EVENTS_LOST._value.get())


async def kept(database: Database, count: int) -> list[tuple[str, ...]]:
    """Returns the rows as soon as there are so many."""
    async with asyncio.timeout(20):
        while len(rows := await database.rows(_ALL)) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return rows


async def test_events_are_kept_in_their_order(through_line: Database) -> None:
    log = SecurityLog(through_line)
    log.start()
    log.record(SecurityEvent.LOGIN_OK, username="anna", actor="anna")
    log.record(SecurityEvent.USER_CHANGED, username="bob", actor="anna", detail="role user")
    assert await kept(through_line, 2) == [
        ("login.ok", "anna", "anna", ""),
        ("user.changed", "bob", "anna", "role user"),
    ]
    await log.stop()


async def test_a_stop_writes_what_waits(through_line: Database) -> None:
    log = SecurityLog(through_line)
    log.start()
    for number in range(2_500):
        log.record(SecurityEvent.LOGIN_FAILED, detail=str(number))
    await log.stop()
    assert len(await through_line.rows(_ALL)) == 2_500


async def test_events_wait_while_clickhouse_is_away_and_come_once(
    lines: Lines, through_line: Database, database: Database
) -> None:
    log = SecurityLog(through_line)
    log.start()
    log.record(SecurityEvent.LOGIN_OK, detail="before")
    await kept(database, 1)
    await lines.clickhouse.cut()
    log.record(SecurityEvent.LOGIN_OK, detail="meanwhile")
    await asyncio.sleep(1)
    log.record(SecurityEvent.LOGIN_OK, detail="later")
    await lines.clickhouse.mend()
    assert [row[3] for row in await kept(database, 3)] == ["before", "meanwhile", "later"]
    await log.stop()


async def test_beyond_the_bound_and_after_a_stop_events_are_counted_as_lost(
    lines: Lines, through_line: Database
) -> None:
    await lines.clickhouse.cut()
    log = SecurityLog(through_line, most=3)
    before = lost()
    for _ in range(5):
        log.record(SecurityEvent.LOGIN_FAILED)
    assert lost() - before == 2
    await log.stop()
    assert lost() - before == 5
