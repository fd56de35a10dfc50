"""Token buckets on the real Redis: many replicas, many clients at once, and Redis away."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from sensor_shared.adapters.bucket import Draw, Policy
from sensor_shared.adapters.buckets import Buckets
from sensor_shared.adapters.redis import RedisSettings, connect
from sensor_shared.testing.line import Line

pytestmark = pytest.mark.integration
SLOW = 0.001
"""Tokens per second: none comes back during a test."""


@pytest.fixture
async def line(redis_server: Any) -> AsyncIterator[Line]:
    made = Line(redis_server.host, redis_server.port)
    await made.mend()
    yield made
    await made.cut()


@pytest.fixture
async def clients(line: Line) -> AsyncIterator[Any]:
    """Makes a Redis client for each replica."""
    async with AsyncExitStack() as stack:

        async def make() -> Redis:
            client = connect(RedisSettings(port=line.port, timeout=5))
            stack.push_async_callback(client.aclose)
            return client

        yield make


def holder() -> str:
    return uuid.uuid4().hex


async def given(buckets: Buckets, draw: Draw) -> bool:
    [taken] = await buckets.take([draw])
    return not taken.wait_ms


async def test_many_at_once_at_many_replicas_get_exactly_what_the_bucket_holds(
    clients: Any,
) -> None:
    replicas = [Buckets(await clients()) for _ in range(4)]
    draw = Draw(Policy("test", capacity=100, per_second=SLOW), holder())
    outcomes = await asyncio.gather(*(given(replicas[i % 4], draw) for i in range(400)))
    assert sum(outcomes) == 100


async def test_taking_in_advance_never_lets_more_pass_and_wastes_little(clients: Any) -> None:
    replicas = [Buckets(await clients()) for _ in range(4)]
    draw = Draw(Policy("test", capacity=1_000, per_second=SLOW, most_ahead=20), holder())

    async def ask(buckets: Buckets) -> int:
        return sum([await given(buckets, draw) for _ in range(500)])

    passed = sum(await asyncio.gather(*(ask(replica) for replica in replicas)))
    assert 1_000 - 4 * 20 <= passed <= 1_000


async def test_who_keeps_asking_costs_few_round_trips(clients: Any, redis_server: Any) -> None:
    async with Redis(host=redis_server.host, port=redis_server.port) as admin:
        buckets = Buckets(await clients())
        draw = Draw(Policy("test", capacity=100_000, per_second=1.0, most_ahead=50), holder())
        await buckets.take([draw])
        before = await _evaluations(admin)
        for _ in range(1_000):
            assert await given(buckets, draw)
        assert await _evaluations(admin) - before <= 40


async def test_many_who_wait_for_one_bucket_share_one_call(clients: Any, redis_server: Any) -> None:
    async with Redis(host=redis_server.host, port=redis_server.port) as admin:
        buckets = Buckets(await clients())
        draw = Draw(Policy("test", capacity=90, per_second=SLOW), holder())
        await buckets.take([Draw(draw.policy, holder())])  # the script is loaded
        before = await _evaluations(admin)
        taken = await asyncio.gather(*(buckets.take([draw]) for _ in range(100)))
        # Tests beside this one use the same Redis; a call for each would be a hundred.
        assert await _evaluations(admin) - before < 50
        assert sum(not one.wait_ms for [one] in taken) == 90


async def _evaluations(admin: Redis) -> int:
    stats = await admin.info("commandstats")
    return int(stats["cmdstat_evalsha"]["calls"])


async def test_a_bucket_fills_by_the_clock_of_redis(clients: Any) -> None:
    buckets = Buckets(await clients())
    draw = Draw(Policy("test", capacity=2, per_second=10.0), holder())
    assert [await given(buckets, draw) for _ in range(3)] == [True, True, False]
    [refused] = await buckets.take([draw])
    assert 0 < refused.wait_ms <= 100
    await asyncio.sleep(refused.wait_ms / 1000)
    assert await given(buckets, draw)


async def test_costs_are_weighed_and_a_cheaper_one_may_still_pass(clients: Any) -> None:
    buckets = Buckets(await clients())
    policy, who = Policy("test", capacity=10, per_second=SLOW), holder()
    assert await given(buckets, Draw(policy, who, 8))
    assert not await given(buckets, Draw(policy, who, 5))
    assert await given(buckets, Draw(policy, who, 2))
    assert not await given(buckets, Draw(policy, who, 1))


async def test_holders_and_policies_have_buckets_of_their_own(clients: Any) -> None:
    buckets = Buckets(await clients())
    one, other = Policy("one", 1, SLOW), Policy("other", 1, SLOW)
    who, somebody = holder(), holder()
    draws = [Draw(one, who), Draw(other, who), Draw(one, somebody)]
    assert [not taken.wait_ms for taken in await buckets.take(draws)] == [True, True, True]
    assert [not taken.wait_ms for taken in await buckets.take(draws)] == [False, False, False]


async def test_a_refusal_is_remembered_without_asking_redis(clients: Any, line: Line) -> None:
    buckets = Buckets(await clients())
    draw = Draw(Policy("test", capacity=1, per_second=SLOW), holder())
    assert await given(buckets, draw)
    assert not await given(buckets, draw)
    await line.cut()
    known = buckets.refused(draw)
    assert known is not None
    assert known.wait_ms > 0
    assert not await given(buckets, draw)


async def test_without_redis_each_process_counts_by_itself_and_says_so(
    clients: Any, line: Line
) -> None:
    clock = [0.0]
    buckets = Buckets(await clients(), clock=lambda: clock[0])
    draw = Draw(Policy("test", capacity=5, per_second=1.0), holder())
    await line.cut()
    outcomes = await asyncio.gather(*(given(buckets, draw) for _ in range(20)))
    assert sum(outcomes) == 5
    assert REGISTRY.get_sample_value("sensor_http_limits_local") == 1
    clock[0] += 2
    assert [await given(buckets, draw) for _ in range(3)] == [True, True, False]
    await line.mend()
    clock[0] += 2
    assert await given(buckets, draw)
    assert REGISTRY.get_sample_value("sensor_http_limits_local") == 0


async def test_a_redis_that_is_away_is_not_asked_for_each_request(clients: Any, line: Line) -> None:
    buckets = Buckets(await clients())
    draw = Draw(Policy("test", capacity=10_000, per_second=1.0), holder())
    await line.cut()
    await given(buckets, draw)
    started = time.perf_counter()
    for _ in range(1_000):
        assert await given(buckets, draw)
    assert time.perf_counter() - started < 0.5


async def test_what_a_process_remembers_is_bounded(clients: Any, line: Line) -> None:
    buckets = Buckets(await clients())
    await line.cut()
    policy = Policy("test", capacity=1, per_second=SLOW)
    for _ in range(11_000):
        await buckets.take([Draw(policy, holder())])
    assert len(buckets._states) == 10_000


async def test_a_redis_that_was_started_again_is_given_the_script_again(
    clients: Any, redis_server: Any
) -> None:
    buckets = Buckets(await clients())
    draw = Draw(Policy("test", capacity=2, per_second=SLOW), holder())
    assert await given(buckets, draw)
    async with Redis(host=redis_server.host, port=redis_server.port) as admin:
        await admin.script_flush()
    assert await given(buckets, draw)
    assert not await given(buckets, draw)


async def test_an_unused_bucket_leaves_redis_when_it_is_full_again(
    clients: Any, redis_server: Any
) -> None:
    buckets = Buckets(await clients())
    who = holder()
    await buckets.take([Draw(Policy("test", capacity=10, per_second=2.0), who)])
    async with Redis(host=redis_server.host, port=redis_server.port) as admin:
        assert 0 < await admin.pttl(f"limit:test:{who}") <= 500
