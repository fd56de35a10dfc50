"""How many exports a user may run over all replicas, on the real Redis."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from redis.asyncio import Redis
from starlette.exceptions import HTTPException

from sensor_gateway.export.leases import Leases
from sensor_gateway.export.slots import Slots
from sensor_shared.adapters.redis import RedisSettings, connect
from sensor_shared.testing.parts import Lines

pytestmark = pytest.mark.integration
SECONDS = 0.6
MOST = 2

Replica = Callable[[], Slots]


@pytest.fixture
async def replica(lines: Lines) -> AsyncIterator[Replica]:
    """Makes replicas that reach Redis by the line; leases are short."""
    made: list[tuple[Slots, Redis]] = []

    def make() -> Slots:
        client = connect(RedisSettings.model_validate(lines.sections["redis"]), wait=1.0)
        slots = Slots(4, MOST, Leases(client, MOST, seconds=SECONDS))
        made.append((slots, client))
        return slots

    yield make
    for slots, client in made:
        await slots.stop()
        await client.aclose()


@pytest.fixture
async def beside(redis: Redis) -> AsyncIterator[Slots]:
    """A replica that reaches Redis when the line is cut."""
    slots = Slots(4, MOST, Leases(redis, MOST, seconds=SECONDS))
    yield slots
    await slots.stop()


async def taken(slots: Slots, user: str = "ada") -> Callable[[], None] | None:
    try:
        return await slots.take(user)
    except HTTPException as error:
        if error.status_code != 429:
            raise
        return None


async def taken_in_time(slots: Slots) -> Callable[[], None]:
    async with asyncio.timeout(10):
        while (found := await taken(slots)) is None:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        return found


async def until_none(redis: Redis) -> None:
    async with asyncio.timeout(10):
        while await redis.keys("gateway:exports:*"):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_of_many_at_once_at_many_replicas_so_many_get_a_slot(replica: Replica) -> None:
    replicas = [replica() for _ in range(5)]
    found = await asyncio.gather(*(taken(one) for one in replicas for _ in range(4)))
    assert sum(one is not None for one in found) == MOST
    assert await taken(replicas[0], "bob") is not None, "another user's are another's"


async def test_a_slot_given_back_at_one_replica_is_free_at_the_others(replica: Replica) -> None:
    one, other = replica(), replica()
    back = await one.take("ada")
    await one.take("ada")
    assert await taken(other) is None
    back()
    await taken_in_time(other)
    assert await taken(one) is None


async def test_a_slot_is_held_for_longer_than_a_lease_while_its_process_lives(
    replica: Replica,
) -> None:
    one, other = replica(), replica()
    for _ in range(MOST):
        await one.take("ada")
    await asyncio.sleep(2 * SECONDS)
    assert await taken(other) is None


async def test_slots_of_a_process_that_is_no_more_come_back_by_themselves(
    replica: Replica, beside: Slots, lines: Lines
) -> None:
    gone = replica()
    for _ in range(MOST):
        await gone.take("ada")
    await lines.redis.cut()
    await asyncio.gather(*(taken_in_time(beside) for _ in range(MOST)))
    assert await taken(beside) is None


async def test_while_redis_is_away_each_process_counts_and_tells_when_redis_is_back(
    replica: Replica, beside: Slots, lines: Lines
) -> None:
    one = replica()
    await lines.redis.cut()
    backs = [await one.take("ada") for _ in range(MOST)]
    assert await taken(one) is None
    await lines.redis.mend()
    async with asyncio.timeout(10):
        while (back := await taken(beside)) is not None:
            back()
            await asyncio.sleep(0.1)
    for back in backs:
        back()
    await taken_in_time(beside)
    await taken_in_time(one)


async def test_a_taking_that_is_cancelled_leaves_nothing_behind(
    replica: Replica, beside: Slots, lines: Lines, redis: Redis
) -> None:
    one = replica()
    back = await one.take("ada")  # now it has a connection, and Redis the script
    back()
    await until_none(redis)
    lines.redis.stall()
    taking = asyncio.create_task(one.take("ada"))
    await asyncio.sleep(0.1)  # on its way to Redis, and not there
    taking.cancel()
    await asyncio.wait([taking])
    assert taking.cancelled()
    await lines.redis.mend()
    # The process lives and renews what it holds: only what it let go of comes free.
    for back in [await taken_in_time(beside) for _ in range(MOST)]:
        back()
    await until_none(redis)
    for _ in range(MOST):
        await one.take("ada")
