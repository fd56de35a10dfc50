"""An unknown user, a wrong password and a disabled account: one answer, and the same work for it.

What is counted is the work, not the time, which on a busy machine says little.
"""

import asyncio
from collections import Counter
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from sensor_auth.passwords import Passwords
from sensor_auth.settings import PasswordSettings
from sensor_shared.telemetry import metrics

from .conftest import PASSWORD

pytestmark = pytest.mark.integration
END = "end of the test"
CASES = [("nobody", PASSWORD), ("user", "wrong"), ("gone", PASSWORD), ("gone", "wrong")]


def hashes() -> float:
    return float(metrics.PASSWORD_HASHES._value.get())


async def refused(http: httpx.AsyncClient, username: str, password: str) -> httpx.Response:
    answer = await http.post("/auth/login", json={"username": username, "password": password})
    assert answer.status_code == 401
    return answer


async def test_each_failure_computes_one_hash_of_the_same_cost(http: httpx.AsyncClient) -> None:
    for case in CASES:
        before = hashes()
        await refused(http, *case)
        assert hashes() - before == 1, case


async def test_each_failure_asks_redis_the_same(
    http: httpx.AsyncClient, lines: Any, redis_server: Any
) -> None:
    """By Redis's own MONITOR, in this test's database."""
    number = lines.sections["redis"]["db"]
    for case in CASES:
        await refused(http, *case)  # from here on each is kept in Redis
    seen = []
    for case in CASES:
        asked: list[str] = []
        client = Redis(host=redis_server.host, port=redis_server.port, db=number)
        async with client, client.monitor() as monitor:
            await refused(http, *case)
            async with Redis(host=redis_server.host, port=redis_server.port, db=number) as other:
                await other.echo(END)
            async with asyncio.timeout(10):
                async for line in monitor.listen():
                    if line["db"] != number:
                        continue
                    if END in line["command"]:
                        break
                    asked.append(line["command"].split()[0].upper())
        seen.append(Counter(asked))
    assert seen[0]["EVALSHA"] >= 3, seen[0]
    assert all(commands == seen[0] for commands in seen[1:]), seen


async def test_each_failure_is_the_same_answer_but_for_what_each_request_has(
    http: httpx.AsyncClient,
) -> None:
    answers = [await refused(http, *case) for case in CASES]
    assert len({answer.content for answer in answers}) == 1
    others = {"x-request-id": "", "ratelimit": ""}  # a name of its own, and a count of all tries
    headers = [{**answer.headers, **others} for answer in answers]
    assert all(one == headers[0] for one in headers)


async def test_hashes_are_computed_beside_the_event_loop() -> None:
    passwords = Passwords(PasswordSettings(time_cost=4, memory_kib=64 * 1024, parallelism=1))
    hashing = asyncio.create_task(passwords.hash(PASSWORD))
    turns = 0
    while not hashing.done():
        turns += 1
        await asyncio.sleep(0)
    assert turns > 10
    passwords.close()
