"""The cache on the real Redis: one query for many waiters, and old answers in need."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from sensor_gateway.cache import Cache, CacheSettings
from sensor_shared.adapters import redis as redis_adapter
from sensor_shared.adapters.database import DatabaseAwayError
from sensor_shared.adapters.redis import RedisSettings
from sensor_shared.testing.parts import Lines

pytestmark = pytest.mark.integration
TTL = 10.0


class Question:
    """Stands for a query: takes a while, counts, can be away."""

    def __init__(self, answer: bytes = b"{}", seconds: float = 0.05):
        self.answer = answer
        self.seconds = seconds
        self.asked = 0
        self.error: Exception | None = None

    async def __call__(self) -> bytes:
        self.asked += 1
        await asyncio.sleep(self.seconds)
        if self.error:
            raise self.error
        return self.answer


class Clock:
    def __init__(self) -> None:
        self.ms = 1_790_000_000_000

    def __call__(self) -> int:
        return self.ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def cache(lines: Lines, clock: Clock) -> Any:
    """Makes replicas: each a cache of its own on the Redis of all."""
    clients: list[Redis] = []

    def make(**settings: Any) -> Cache:
        client = redis_adapter.connect(RedisSettings.model_validate(lines.sections["redis"]))
        clients.append(client)
        return Cache(client, CacheSettings(**settings), now_ms=clock)

    yield make
    for client in clients:
        await client.aclose()


Make = Callable[..., Cache]


async def test_500_waiters_cause_one_query(cache: Make) -> None:
    one, question = cache(), Question(b"[1]")
    answers = await asyncio.gather(*(one.get("k", question, ttl_seconds=TTL) for _ in range(500)))
    assert question.asked == 1
    assert {answer.body for answer in answers} == {b"[1]"}


async def test_500_waiters_at_five_replicas_cause_one_query(cache: Make) -> None:
    replicas, question = [cache() for _ in range(5)], Question(b"[1]", seconds=0.2)
    answers = await asyncio.gather(
        *(replicas[n % 5].get("k", question, ttl_seconds=TTL) for n in range(500))
    )
    assert question.asked == 1
    assert {answer.body for answer in answers} == {b"[1]"}


async def test_without_redis_each_replica_asks_once(cache: Make, lines: Lines) -> None:
    await lines.redis.cut()
    replicas, question = [cache() for _ in range(2)], Question()
    for _ in range(2):
        await asyncio.gather(
            *(replicas[n % 2].get("k", question, ttl_seconds=TTL) for n in range(100))
        )
    assert question.asked == 2


async def test_an_answer_is_made_anew_when_its_time_is_over(cache: Make, clock: Clock) -> None:
    one, question = cache(), Question(b"old")
    assert (await one.get("k", question, ttl_seconds=TTL)).source == "clickhouse"
    clock.ms += 9_999
    aged = await one.get("k", question, ttl_seconds=TTL)
    assert (aged.body, aged.source, aged.age_seconds) == (b"old", "cache", 9)
    question.answer = b"new"
    clock.ms += 1
    fresh = await one.get("k", question, ttl_seconds=TTL)
    assert (fresh.body, fresh.source, fresh.age_seconds) == (b"new", "clickhouse", 0)


async def test_a_replica_finds_what_another_has_fetched(cache: Make, clock: Clock) -> None:
    question = Question(b"\x00\xff")
    await cache().get("k", question, ttl_seconds=TTL)
    clock.ms += 5_000
    found = await cache().get("k", question, ttl_seconds=TTL)
    assert (found.body, found.source, found.age_seconds) == (b"\x00\xff", "cache", 5)
    assert question.asked == 1


async def test_while_clickhouse_is_away_the_old_answer_is_given_and_says_so(
    cache: Make, clock: Clock
) -> None:
    one, question = cache(stale_seconds=60), Question(b"old")
    await one.get("k", question, ttl_seconds=TTL)
    question.error = DatabaseAwayError("away")
    clock.ms += 30_000
    for replica in (one, cache(stale_seconds=60)):
        stale = await replica.get("k", question, ttl_seconds=TTL)
        assert (stale.body, stale.source, stale.age_seconds) == (b"old", "stale", 30)
    asked = question.asked
    await one.get("k", question, ttl_seconds=TTL)
    assert question.asked == asked, "asked again at once"
    clock.ms += 31_000
    with pytest.raises(DatabaseAwayError):
        await one.get("k", question, ttl_seconds=TTL)


async def test_what_there_is_much_of_is_kept_for_less_time(
    cache: Make, clock: Clock, redis: Redis
) -> None:
    one, question = cache(), Question(b"old")
    await one.get("k", question, ttl_seconds=TTL, stale_seconds=20)
    assert 25_000 < await redis.pttl("gateway:cache:1:k") <= 30_000
    question.error = DatabaseAwayError("away")
    clock.ms += 21_000
    with pytest.raises(DatabaseAwayError):
        await one.get("k", question, ttl_seconds=TTL, stale_seconds=20)


async def test_without_redis_and_clickhouse_what_was_held_is_still_given(
    cache: Make, clock: Clock, lines: Lines
) -> None:
    one, question = cache(), Question(b"old")
    await one.get("k", question, ttl_seconds=TTL)
    await lines.redis.cut()
    question.error = DatabaseAwayError("away")
    clock.ms += 30_000
    assert (await one.get("k", question, ttl_seconds=TTL)).source == "stale"
    with pytest.raises(DatabaseAwayError):
        await one.get("another", question, ttl_seconds=TTL)


async def test_an_error_goes_to_all_who_wait_and_is_not_kept(cache: Make) -> None:
    one, question = cache(), Question()
    question.error = DatabaseAwayError("away")
    outcomes = await asyncio.gather(
        *(one.get("k", question, ttl_seconds=TTL) for _ in range(10)), return_exceptions=True
    )
    assert {type(outcome) for outcome in outcomes} == {DatabaseAwayError}
    question.error = None
    assert (await one.get("k", question, ttl_seconds=TTL)).body == b"{}"
    assert question.asked == 2


async def test_a_waiter_that_leaves_takes_nobody_elses_answer(cache: Make) -> None:
    one, question = cache(), Question()
    first = asyncio.create_task(one.get("k", question, ttl_seconds=TTL))
    second = asyncio.create_task(one.get("k", question, ttl_seconds=TTL))
    await asyncio.sleep(0.01)
    first.cancel()
    assert (await second).body == b"{}"
    assert question.asked == 1


async def test_a_replica_that_dies_with_the_lock_keeps_the_others_only_for_a_while(
    cache: Make, redis: Redis
) -> None:
    await redis.set("gateway:cache:1:lock:k", "of the dead", px=60_000)
    question = Question(b"[1]")
    async with asyncio.timeout(5):
        answer = await cache(wait_seconds=0.2).get("k", question, ttl_seconds=TTL)
    assert (answer.body, answer.source) == (b"[1]", "clickhouse")
    assert await redis.get("gateway:cache:1:lock:k") == b"of the dead"


async def test_an_answer_that_is_too_large_is_given_but_not_kept(cache: Make, redis: Redis) -> None:
    one, question = cache(max_entry_bytes=10), Question(b"x" * 11)
    for _ in range(2):
        assert (await one.get("k", question, ttl_seconds=TTL)).source == "clickhouse"
    assert await redis.keys("gateway:cache:*") == []


async def test_the_memory_is_bounded_and_what_was_used_last_stays(
    cache: Make, lines: Lines
) -> None:
    await lines.redis.cut()
    one, question = cache(memory_bytes=300), Question(b"x" * 100, seconds=0)
    for key in "abcad":
        await one.get(key, question, ttl_seconds=TTL)
    assert question.asked == 4
    for key in "acd":
        await one.get(key, question, ttl_seconds=TTL)
    assert question.asked == 4
    await one.get("b", question, ttl_seconds=TTL)
    assert question.asked == 5


async def test_while_clickhouse_hangs_the_old_answer_is_given_after_a_second_and_then_at_once(
    cache: Make, clock: Clock
) -> None:
    one, question = cache(stale_seconds=60), Question(b"old")
    await one.get("k", question, ttl_seconds=TTL)
    question.seconds = 600.0
    clock.ms += 30_000
    for seconds in (1.5, 0.2):
        async with asyncio.timeout(seconds):
            stale = await one.get("k", question, ttl_seconds=TTL)
        assert (stale.body, stale.source, stale.age_seconds) == (b"old", "stale", 30)
    assert question.asked == 2
