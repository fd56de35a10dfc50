"""Late and repeated readings."""

import numpy as np

from sensor_producer.delivery import Delivery
from sensor_producer.dice import Dice
from sensor_producer.faults import Fault, FaultSettings
from sensor_producer.fleet import Fleet, Readings

Key = tuple[int, int]


def keys(readings: Readings) -> list[Key]:
    return list(zip(readings.device.tolist(), readings.timestamp_ms.tolist(), strict=True))


def deliver_all(
    fleet: Fleet, delivery: Delivery, first: int, ticks: int, size: int
) -> tuple[list[Key], list[tuple[int, Readings]]]:
    """Runs some ticks; returns what was measured and what was delivered when (epoch ms)."""
    measured: list[Key] = []
    delivered = []
    for tick in range(ticks):
        start = first + tick * size
        readings = fleet.measure(start, start + size)
        measured += keys(readings)
        now_ms = fleet.moment_us(start + size) // 1000
        delivered.append((now_ms, delivery.release(readings, now_ms)))
    return measured, delivered


def test_every_reading_is_delivered_and_only_marked_ones_twice(
    faulty_fleet: Fleet, dice: Dice, many_faults: FaultSettings, noon_us: int
) -> None:
    delivery = Delivery(dice, many_faults)
    first = faulty_fleet.moments(noon_us)
    measured, delivered = deliver_all(faulty_fleet, delivery, first, 400, 20)
    rest = delivery.drain()
    assert rest is not None
    every = Readings.join([*(readings for _, readings in delivered), rest])
    again = every.suffering(Fault.REPEATED)
    assert sorted(keys(every[~again])) == sorted(measured)
    assert set(keys(every[again])) <= set(measured)
    assert 0.03 < again.mean() < 0.07
    assert 0.03 < every.suffering(Fault.LATE).mean() < 0.07
    assert len(delivery) == 0
    assert delivery.drain() is None


def test_late_readings_keep_their_timestamp_and_come_1_to_30_seconds_later(
    faulty_fleet: Fleet, dice: Dice, many_faults: FaultSettings, noon_us: int
) -> None:
    first = faulty_fleet.moments(noon_us)
    _, delivered = deliver_all(faulty_fleet, Delivery(dice, many_faults), first, 600, 20)
    delays = np.concatenate(
        [
            now_ms - readings.timestamp_ms[readings.suffering(Fault.LATE)]
            for now_ms, readings in delivered
        ]
    )
    assert len(delays) > 100
    assert delays.min() >= 1_000
    assert delays.max() <= 30_200  # a tick is 100 ms here


def test_the_second_copy_comes_in_a_later_tick_with_the_same_values(
    faulty_fleet: Fleet, dice: Dice, many_faults: FaultSettings, noon_us: int
) -> None:
    first = faulty_fleet.moments(noon_us)
    _, delivered = deliver_all(faulty_fleet, Delivery(dice, many_faults), first, 200, 20)
    seen: dict[Key, float] = {}
    copies = 0
    for _, readings in delivered:
        again = readings.suffering(Fault.REPEATED)
        for key, value in zip(keys(readings[again]), readings.temperature[again], strict=True):
            assert seen[key] == value
            copies += 1
        fresh = readings[~again]
        seen |= dict(zip(keys(fresh), fresh.temperature.tolist(), strict=True))
    assert copies > 50


def test_failed_readings_are_not_repeated(
    faulty_fleet: Fleet, dice: Dice, many_faults: FaultSettings, noon_us: int
) -> None:
    first = faulty_fleet.moments(noon_us)
    _, delivered = deliver_all(faulty_fleet, Delivery(dice, many_faults), first, 200, 20)
    for _, readings in delivered:
        both = readings.suffering(Fault.REPEATED) & readings.suffering(Fault.FAILED)
        assert not both.any()
