"""A source with several consumers: members of one group that share the partitions."""

import asyncio
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from sensor_dispatcher.consumer import GIVEN_AWAY_UNCOMMITTED, LOST
from sensor_dispatcher.lag import LagReader
from sensor_dispatcher.status import Board

if TYPE_CHECKING:
    from eventing.dispatcher.tests.conftest import Bench, Got
    from sensor_dispatcher.source import Source

pytestmark = pytest.mark.integration


def parts(source: "Source") -> list[int]:
    """How many partitions each consumer has, the least first."""
    return sorted(len(consumer.assigned()) for consumer in source.consumers)


def arrived(bench: "Bench", bodies: list[bytes]) -> bool:
    return set(bodies) <= set(bench.sink.bodies())


@pytest.fixture
def gate(bench: "Bench") -> asyncio.Event:
    """Nothing is answered before it is set."""
    opened = asyncio.Event()

    async def answer(_got: "Got") -> web.Response:
        await opened.wait()
        return web.Response(status=202)

    bench.sink.answer = answer
    return opened


async def test_each_consumer_has_a_window_of_its_own(bench: "Bench", gate: asyncio.Event) -> None:
    bench.create(bench.topic, partitions=2)
    async with bench.dispatching(consumers=2) as source:
        await bench.eventually(lambda: parts(source) == [1, 1])
        for number in range(1_000):
            bench.produce(b"%d" % number, partition=number % 2)
        bench.flush()
        await bench.eventually(lambda: all(consumer.paused for consumer in source.consumers))
        assert 2 * 50 <= source.tally.in_flight <= 2 * 99
        assert source.positions() == {(bench.topic, 0): 0, (bench.topic, 1): 0}
        gate.set()
        await bench.eventually(lambda: source.tally.delivered == 1_000)
    assert Counter(bench.sink.bodies()) == {b"%d" % n: 1 for n in range(1_000)}
    assert bench.committed() == {0: 500, 1: 500}


async def test_nothing_is_lost_or_sent_twice_when_a_source_starts_and_stops_in_a_backlog(
    bench: "Bench",
) -> None:
    """The first consumer has all partitions until the second one joins and takes its part."""
    bench.create(bench.topic, partitions=4)
    seconds = 0.2  # the backlog lasts longer than it takes to join

    async def answer(_got: "Got") -> web.Response:
        await asyncio.sleep(seconds)
        return web.Response(status=202)

    bench.sink.answer = answer
    for number in range(6_000):
        bench.produce(b"%d" % number, partition=number % 4)
    bench.flush()
    async with bench.dispatching(consumers=2) as source:
        await bench.eventually(lambda: parts(source) == [2, 2])
        await bench.eventually(lambda: len(source.positions()) == 4)
    assert 0 < source.tally.delivered < 6_000
    seconds = 0.01
    async with bench.dispatching(consumers=2):
        await bench.eventually(lambda: len(bench.sink.got) >= 6_000)
    assert Counter(bench.sink.bodies()) == {b"%d" % n: 1 for n in range(6_000)}
    assert bench.committed() == dict.fromkeys(range(4), 1_500)


async def test_what_is_finished_is_committed_although_the_group_rebalances(bench: "Bench") -> None:
    """Each round ends about when its second consumer joins, and some in the middle of that.

    Once in a while the group goes on without a member, and Kafka takes no commit from it: then, and
    only then, what it had finished comes again, in this round or to whoever is the next.
    """
    bench.create(bench.topic, partitions=4)
    undisturbed = 0
    for rounds in range(1, 9):
        sent = [b"%d" % (40 * rounds + number) for number in range(40)]
        for number, body in enumerate(sent):
            bench.produce(body, partition=number % 4)
        bench.flush()
        before = len(bench.sink.got)
        with capture_logs() as said:
            async with bench.starting(consumers=2) as source:
                await bench.eventually(partial(arrived, bench, sent))
                await bench.eventually(lambda: source.tally.in_flight == 0)
        if {GIVEN_AWAY_UNCOMMITTED, LOST} & {line["event"] for line in said}:
            missing = 40 * rounds - sum(bench.committed().values())
            async with bench.starting(consumers=1) as source:
                await bench.eventually(lambda: source.tally.delivered == missing)  # noqa: B023
        else:
            undisturbed += 1
            assert Counter(bench.sink.bodies()[before:]) == dict.fromkeys(sent, 1)
        assert bench.committed() == dict.fromkeys(range(4), 10 * rounds)
    assert undisturbed >= 4


async def test_a_partition_moves_though_its_records_are_stuck(
    bench: "Bench", gate: asyncio.Event
) -> None:
    """Those that are not finished in time go to the new owner too."""
    bench.create(bench.topic, partitions=2)
    async with bench.dispatching() as first:
        for partition in (0, 1):
            bench.produce(b"%d" % partition, partition=partition)
        await bench.eventually(lambda: bench.sink.at_once == 2)
        async with bench.dispatching() as second:
            await bench.eventually(lambda: parts(first) == parts(second) == [1])
            await bench.eventually(lambda: bench.sink.at_once == 3)
            gate.set()
            await bench.eventually(lambda: second.tally.delivered == 1)
    assert len(bench.sink.got) == 3
    assert bench.committed() == {0: 1, 1: 1}


async def test_a_consumer_beyond_the_partitions_is_idle_and_ready(bench: "Bench") -> None:
    bench.create(bench.topic, partitions=2)
    async with bench.dispatching(consumers=3) as source:
        await bench.eventually(lambda: parts(source) == [0, 1, 1])
        assert source.joined()
        assert source.alive()


async def test_a_source_is_dead_when_one_of_its_consumers_is(bench: "Bench") -> None:
    bench.create(bench.topic, partitions=2)
    async with bench.dispatching(consumers=2) as source:
        source.consumers[1].begin_close()
        await asyncio.to_thread(source.consumers[1].join)
        assert not source.alive()


async def test_status_sums_lag_and_commits_over_the_consumers(
    bench: "Bench", gate: asyncio.Event
) -> None:
    bench.create(bench.topic, partitions=2)
    async with bench.dispatching(consumers=2) as source:
        board = Board([source], [], LagReader(bench.brokers, [bench.group]))
        await bench.eventually(lambda: parts(source) == [1, 1])
        for number in range(70):
            bench.produce(b"x", partition=int(number < 30))
        bench.flush()
        await bench.eventually(lambda: source.tally.in_flight == 70)
        before = (await board.status())["sources"]["source"]
        gate.set()
        await bench.eventually(lambda: len(source.committed()) == 2)
        await bench.eventually(lambda: sum(source.committed().values()) == 70)
        after = (await board.status())["sources"]["source"]
    assert (before["lag"], before["in_flight"]) == (70, 70)
    assert (after["lag"], after["in_flight"], after["delivered"]) == (0, 0, 70)
    assert after["committed"] == {f"{bench.topic}/0": 40, f"{bench.topic}/1": 30}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_member_that_its_group_does_not_take_back_ends_the_source(bench: "Bench") -> None:
    """What librdkafka says when the session is over; nobody is assigned anything afterwards."""
    bench.create(bench.topic, partitions=1)
    async with bench.dispatching() as source:
        (consumer,) = source.consumers
        consumer.rejoin_seconds = 0.5
        consumer._on_lost(consumer._consumer, [])
        consumer._on_assign(consumer._consumer, [])
        await asyncio.sleep(1.0)
        assert source.alive(), "it was taken back in time"
        consumer._on_lost(consumer._consumer, [])
        await bench.eventually(lambda: not source.alive())
