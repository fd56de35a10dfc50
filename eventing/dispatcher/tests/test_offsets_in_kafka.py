"""What is committed, and what comes again: after a stop, a failure, a rebalance."""

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

if TYPE_CHECKING:
    from eventing.dispatcher.tests.conftest import Bench, Got

pytestmark = pytest.mark.integration


async def test_only_the_finished_prefix_is_committed_and_the_rest_comes_again(
    bench: "Bench",
) -> None:
    bench.create(bench.topic)
    stuck = True

    async def answer(got: "Got") -> web.Response:
        if stuck and got.body == b"5":
            await asyncio.Event().wait()
        return web.Response(status=202)

    bench.sink.answer = answer
    for number in range(10):
        bench.produce(b"%d" % number)
    async with bench.dispatching(grace=0) as source:
        await bench.eventually(lambda: source.tally.delivered == 9)
    assert bench.committed() == {0: 5}

    stuck = False
    async with bench.dispatching() as source:
        await bench.eventually(lambda: source.tally.delivered == 5)
    assert bench.committed() == {0: 10}
    assert set(bench.sink.bodies()) == {b"%d" % n for n in range(10)}


async def test_the_prefix_is_committed_every_few_seconds(bench: "Bench") -> None:
    bench.create(bench.topic)
    bench.produce(b"x")
    async with bench.dispatching() as source:
        await bench.eventually(source.committed)
        assert source.committed() == {(bench.topic, 0): 1}
        assert bench.committed() == {0: 1}


async def test_stopping_waits_for_what_is_in_flight(bench: "Bench") -> None:
    bench.create(bench.topic)
    arrived = asyncio.Event()
    gate = asyncio.Event()

    async def answer(_got: "Got") -> web.Response:
        arrived.set()
        await gate.wait()
        return web.Response(status=202)

    bench.sink.answer = answer
    bench.produce(b"x")
    async with bench.dispatching(grace=30) as source:
        await arrived.wait()
        asyncio.get_running_loop().call_later(0.3, gate.set)
    assert source.tally.delivered == 1
    assert bench.committed() == {0: 1}


@pytest.mark.parametrize("initial", ["earliest", "latest"])
async def test_a_new_group_starts_where_initial_offset_says(bench: "Bench", initial: str) -> None:
    bench.create(bench.topic)
    bench.produce(b"old")
    bench.flush()
    async with bench.dispatching(initialOffset=initial):
        # "latest" is the end of the log some time after the group was joined.
        while b"new" not in bench.sink.bodies():
            bench.produce(b"new")
            await asyncio.sleep(0.05)
    assert (b"old" in bench.sink.bodies()) == (initial == "earliest")


async def test_members_of_one_group_share_the_partitions_and_take_over(bench: "Bench") -> None:
    bench.create(bench.topic, partitions=4)
    async with bench.dispatching() as first:
        for number in range(400):
            bench.produce(b"%d" % number, partition=number % 4)
        async with bench.dispatching() as second:
            await bench.eventually(lambda: len(second.consumers[0].assigned()) == 2)
            await bench.eventually(lambda: len(first.consumers[0].assigned()) == 2)
            for number in range(400, 800):
                bench.produce(b"%d" % number, partition=number % 4)
            await bench.eventually(lambda: len(set(bench.sink.bodies())) == 800)
            await bench.eventually(lambda: second.tally.delivered >= 200)
        await bench.eventually(lambda: len(first.consumers[0].assigned()) == 4)
        for number in range(800, 1_200):
            bench.produce(b"%d" % number, partition=number % 4)
        await bench.eventually(lambda: len(set(bench.sink.bodies())) == 1_200)
    assert bench.committed() == dict.fromkeys(range(4), 300)
    # Offsets are committed on revoke: what was finished does not come again.
    repeated = sum(Counter(bench.sink.bodies()).values()) - 1_200
    assert repeated <= 99


async def test_a_member_without_partitions_is_ready_too(bench: "Bench") -> None:
    bench.create(bench.topic)
    async with bench.dispatching() as first, bench.dispatching() as second:
        await bench.eventually(
            lambda: len(first.consumers[0].assigned()) + len(second.consumers[0].assigned()) == 1
        )
        assert second.joined()


async def test_a_topic_that_is_made_later_is_found(bench: "Bench") -> None:
    async with bench.starting() as source:
        await bench.eventually(source.alive)
        bench.create(bench.topic)
        bench.produce(b"x")
        await bench.eventually(lambda: source.tally.delivered == 1)
