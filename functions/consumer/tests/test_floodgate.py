"""When too much is rejected the consumer says so, and drains no topic into the rejects."""

import asyncio

import pytest
import structlog

from sensor_consumer.delivery import Delivery
from sensor_consumer.floodgate import Floodgate, Shares
from sensor_consumer.settings import ConsumerSettings, FloodSettings
from sensor_shared.adapters.database import Database
from sensor_shared.contracts.errors import Poison, Retry
from sensor_shared.contracts.events import READINGS_V1, Event, new_id
from sensor_shared.contracts.readings import Reject
from sensor_shared.testing.parts import Lines

from .conftest import batch_of, deployed, reading, until


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Shelf:
    """A store that takes all, or is down."""

    def __init__(self) -> None:
        self.taken: list[Delivery] = []
        self.down = False

    async def add(self, delivery: Delivery) -> None:
        if self.down:
            raise Retry("down")
        self.taken.append(delivery)


def delivery(good: int = 0, bad: int = 0, reason: str = "invalid_json") -> Delivery:
    rejects = [Reject(i, reason, "detail", "", b"raw") for i in range(bad)]
    event = Event(new_id(), "/tests", READINGS_V1, b"raw")
    return Delivery(event, batch_of([reading("d")] * good), rejects, 0)


def gate(shelf: Shelf, clock: Clock, **settings: float) -> Floodgate:
    section = {"window_seconds": 10, "min_events": 4, "max_share": 0.5} | settings
    return Floodgate(shelf, FloodSettings.model_validate(section), clock=clock)


def test_the_share_is_that_of_the_last_seconds() -> None:
    shares = Shares(10, 1)
    shares.add(1.0, 5.0)
    shares.add(0.5, 6.0)
    assert shares.mean(6.0) == 0.75
    assert shares.mean(15.5) == 0.5  # second 5 has left the window
    assert shares.mean(16.0) == 0.0
    shares.add(1.0, 1_000_000.0)
    assert shares.mean(1_000_000.0) == 1.0


def test_where_few_come_in_the_window_the_last_ones_count() -> None:
    shares = Shares(10, 3)
    for number, share in enumerate((0.0, 1.0, 0.5, 1.0)):
        shares.add(share, number * 8.0)
        expected = {2: 0.5, 3: 2.5 / 3}.get(number, 0.0)  # two events say nothing
        assert shares.mean(number * 8.0) == pytest.approx(expected)
    assert shares.mean(34.0) == 0.0  # silence
    shares.add(1.0, 207.9)
    assert shares.mean(207.9) == pytest.approx(2.5 / 3)
    shares.add(1.0, 500.0)
    assert shares.mean(500.0) == 0.0  # the others are too long ago


async def test_in_a_flood_events_without_a_good_reading_become_dead_letters_and_the_rest_is_stored() -> (  # noqa: E501
    None
):
    shelf, clock = Shelf(), Clock()
    floodgate = gate(shelf, clock)
    for _ in range(4):
        assert floodgate.trouble is None
        await floodgate.add(delivery(bad=3))
    assert floodgate.trouble is not None
    assert "100%" in floodgate.trouble
    assert "invalid_json" in floodgate.trouble
    with pytest.raises(Poison, match="flood of rejects: too_many_readings"):
        await floodgate.add(delivery(bad=1, reason="too_many_readings"))
    mixed = delivery(good=1, bad=99)
    await floodgate.add(mixed)
    assert shelf.taken[4:] == [mixed]


async def test_a_flood_of_a_few_large_events_is_one_too() -> None:
    clock = Clock()
    floodgate = gate(Shelf(), clock)
    for _ in range(4):
        assert floodgate.trouble is None
        await floodgate.add(delivery(bad=1_000))
        clock.now += 9
        floodgate.look()
    for _ in range(10):
        assert floodgate.trouble is not None
        with pytest.raises(Poison):
            await floodgate.add(delivery(bad=1_000))
        clock.now += 9
        floodgate.look()
    clock.now += 30
    floodgate.look()
    assert floodgate.trouble is None
    await floodgate.add(delivery(good=1))
    floodgate.look()
    assert floodgate.trouble is None, "a night after a flood the first good event begins none"


async def test_a_flood_ends_by_itself_when_good_events_are_the_most_again() -> None:
    floodgate = gate(Shelf(), Clock())
    for _ in range(4):
        await floodgate.add(delivery(bad=1))
    for _ in range(11):
        await floodgate.add(delivery(good=1))
        floodgate.look()
        assert floodgate.trouble is not None  # not before a quarter is left
    await floodgate.add(delivery(good=1))
    floodgate.look()
    assert floodgate.trouble is None
    await floodgate.add(delivery(bad=1))


async def test_a_flood_ends_in_silence() -> None:
    clock = Clock()
    floodgate = gate(Shelf(), clock)
    for _ in range(4):
        await floodgate.add(delivery(bad=1))
    clock.now += 10
    floodgate.look()
    assert floodgate.trouble is None


async def test_a_huge_event_of_rubbish_is_no_flood() -> None:
    floodgate = gate(Shelf(), Clock())
    for _ in range(4):
        await floodgate.add(delivery(good=2))
    await floodgate.add(delivery(bad=1_000))
    assert floodgate.trouble is None


async def test_an_event_that_could_not_be_stored_counts_when_it_is() -> None:
    shelf = Shelf()
    floodgate = gate(shelf, Clock())
    bad = delivery(bad=1)
    shelf.down = True
    for _ in range(50):
        with pytest.raises(Retry):
            await floodgate.add(bad)
    shelf.down = False
    await floodgate.add(bad)
    assert floodgate.trouble is None


async def test_a_share_of_one_takes_everything() -> None:
    floodgate = gate(Shelf(), Clock(), max_share=1)
    for _ in range(100):
        await floodgate.add(delivery(bad=1))
    assert floodgate.trouble is None


async def test_begin_and_end_are_logged_once_with_reasons_and_an_example() -> None:
    clock = Clock()
    with structlog.testing.capture_logs() as logs:
        floodgate = gate(Shelf(), clock)
        for _ in range(4):
            await floodgate.add(delivery(bad=1))
        for _ in range(9):
            with pytest.raises(Poison):
                await floodgate.add(delivery(bad=1))
        clock.now += 10
        floodgate.look()
    begin, end = logs
    assert (begin["log_level"], begin["event"]) == ("error", "flood of rejects begins")
    assert begin["reasons"] == {"invalid_json": 4}
    assert begin["example"]["raw"] == "b'raw'"
    assert (end["log_level"], end["event"]) == ("info", "flood of rejects ends")
    assert end["held_back"] == 9


@pytest.mark.integration
async def test_the_consumer_stays_ready_stores_what_is_good_and_says_degraded(
    settings: ConsumerSettings, database: Database, device: str
) -> None:
    flood = {"window_seconds": 3_600, "min_events": 5}
    settings = settings.model_copy(update={"flood": FloodSettings.model_validate(flood)})
    async with deployed(settings) as consumer:
        await until(consumer.function.ready, "readiness")
        await until(lambda: not consumer.function.troubles(), "the end of all troubles")
        answers = [await consumer.post(b"rubbish") for _ in range(8)]
        assert [answer.status_code for answer in answers] == [202] * 5 + [400] * 3
        assert answers[5].json()["detail"] == "held back in a flood of rejects: invalid_json"
        assert (await consumer.send([reading(device), 7])).status_code == 202
        assert consumer.function.ready()
        (trouble,) = consumer.function.troubles()
        assert trouble.startswith("flood of rejects: ")
        assert await consumer.metric("sensor_consumer_flooded ") == 1
        assert await consumer.metric("sensor_consumer_rejected_share ") > 0.9
        assert await consumer.metric("sensor_consumer_events_held_back_total ") >= 3
    assert await database.rows("SELECT device_id FROM readings") == [(device,)]
    assert await database.rows(
        "SELECT reason, count() FROM rejects GROUP BY reason ORDER BY 1"
    ) == [
        ("invalid_json", 5),
        ("not_an_object", 1),
    ]


@pytest.mark.integration
async def test_without_redis_the_consumer_is_ready_and_degraded(
    settings: ConsumerSettings, lines: Lines
) -> None:
    async with deployed(settings) as consumer:
        await until(lambda: not consumer.function.troubles(), "the end of all troubles")
        await lines.redis.cut()
        await until(lambda: bool(consumer.function.troubles()), "trouble")
        assert consumer.function.troubles() == ["Redis does not answer: latest values stand still"]
        assert consumer.function.ready()
        await lines.redis.mend()
        await until(lambda: not consumer.function.troubles(), "the end of all troubles")


@pytest.mark.integration
async def test_events_that_are_given_back_are_a_trouble(
    settings: ConsumerSettings, lines: Lines
) -> None:
    async with deployed(settings) as consumer:
        await lines.clickhouse.cut()
        assert (await consumer.send(reading("d"))).status_code == 503
        await asyncio.sleep(0)
        assert "events are given back: ClickHouse is away" in consumer.function.troubles()
