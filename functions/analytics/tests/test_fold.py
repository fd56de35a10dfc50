"""Folding: each reading once, in any order, against a plain recount."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from sensor_analytics.domain.delta import Changes, advance, strongest
from sensor_analytics.domain.fold import cells, fold
from sensor_analytics.domain.observations import observe
from sensor_shared.contracts.readings import METRICS, SCHEMA
from sensor_shared.contracts.windows.layout import (
    DEVICE,
    MINUTE_MS,
    SUMS,
    device_records,
    devices_from,
    empty,
    minute_records,
    minutes_from,
)

BEGIN = 1_795_462_320_000  # a full minute
WINDOW = 5

Row = tuple[str, int, float | None, float | None, float | None]


def batch(rows: Sequence[Row]) -> pa.RecordBatch:
    columns: list[list[object]] = [[*column] for column in zip(*rows, strict=True)]
    empty_column: list[object] = [None] * len(rows)
    by_name = dict(zip(("device_id", "timestamp", *METRICS), columns, strict=True))
    by_name["status"] = ["active"] * len(rows)
    return pa.RecordBatch.from_pydict(
        {name: by_name.get(name, empty_column) for name in SCHEMA.names}, SCHEMA
    )


@dataclass
class Memory:
    """What Redis holds, without Redis."""

    devices: dict[str, bytes] = field(default_factory=dict)
    minutes: dict[tuple[str, int], bytes] = field(default_factory=dict)
    new: int = 0
    repeated: int = 0

    def take(self, rows: Sequence[Row], threshold: int = 2_000) -> Changes:
        """Keeps the current minute twice: what analytics reads where is tested with Redis."""
        seen = observe([batch(rows)])
        ids = seen.device_ids
        devices, _, _ = devices_from([self.devices.get(device) for device in ids])
        where = cells(seen, devices)
        keys = [(ids[d], int(m)) for d, m in zip(where.device, where.minute, strict=True)]
        sums, moments = minutes_from([self.minutes.get(key) for key in keys])
        changes = advance(seen, devices, threshold)
        folded = fold(seen, where, devices, sums, moments, window=WINDOW)
        self.new += int(folded.new.sum())
        self.repeated += int(folded.repeated.sum())
        assert int((folded.new + folded.late + folded.repeated).sum()) == len(rows)
        own = np.flatnonzero(where.current(devices))
        assert where.device[own].tolist() == [*range(len(ids))]
        records = device_records(devices, sums[own], [moments[at] for at in own])
        self.devices |= zip(ids, records, strict=True)
        self.minutes |= zip(keys, minute_records(sums, moments), strict=True)
        return changes


values = st.none() | st.integers(-40_000, 90_000).map(lambda v: v / 1000)
readings = st.lists(
    st.builds(
        lambda device, at, metrics: (device, BEGIN + at, *metrics),
        st.sampled_from(["a", "b", "weather_station_000003"]),
        st.integers(0, 3 * MINUTE_MS),
        st.tuples(values, values, values).filter(lambda m: m != (None, None, None)),
    ),
    min_size=1,
    max_size=60,
    unique_by=lambda row: row[:2],
)


def recount(rows: Sequence[Row]) -> dict[tuple[str, int, int], tuple[float, ...]]:
    """n, Σt, Σt², Σv, Σtv, Σv², minimum and maximum by device, minute and metric, by loops."""
    groups: dict[tuple[str, int, int], list[tuple[int, int]]] = {}
    for device, at, *metrics in rows:
        for which, value in enumerate(metrics):
            if value is not None:
                cell = groups.setdefault((device, at // MINUTE_MS, which), [])
                cell.append((at % MINUTE_MS, round(value * 1000)))
    return {
        key: (
            len(points),
            sum(t for t, _ in points),
            sum(t * t for t, _ in points),
            sum(v for _, v in points),
            sum(t * v for t, v in points),
            float(sum(v * v for _, v in points)),
            min(v for _, v in points),
            max(v for _, v in points),
        )
        for key, points in groups.items()
    }


def held(memory: Memory) -> dict[tuple[str, int, int], tuple[float, ...]]:
    found = {}
    for (device, minute), record in memory.minutes.items():
        sums, _ = minutes_from([record])
        for which in range(len(METRICS)):
            if sums["n"][0, which]:
                found[device, minute, which] = tuple(
                    sums[name][0, which].item() for name in SUMS.names or ()
                )
    return found


@settings(deadline=None)
@given(readings, st.randoms(use_true_random=False), st.integers(1, 7))
def test_minutes_hold_each_reading_once_whatever_the_order_and_however_often_it_comes(
    rows: list[Row], random: Random, size: int
) -> None:
    """Repeats, within an event and across events, change nothing; nor does a cut-off delivery."""
    deliveries = rows * 2
    random.shuffle(deliveries)
    memory = Memory()
    for at in range(0, len(deliveries), size):
        memory.take(deliveries[at : at + size])
    assert held(memory) == recount(rows)
    assert (memory.new, memory.repeated) == (len(rows), len(rows))


def test_a_reading_before_the_window_of_its_device_is_left_out() -> None:
    memory = Memory()
    memory.take(
        [("a", BEGIN + WINDOW * MINUTE_MS, 20.0, None, None), ("a", BEGIN, 20.0, None, None)]
    )
    memory.take([("a", BEGIN + MINUTE_MS, 21.0, None, None), ("b", BEGIN, 5.0, None, None)])
    assert sorted((device, minute) for device, minute, _ in held(memory)) == [
        ("a", BEGIN // MINUTE_MS + 1),
        ("a", BEGIN // MINUTE_MS + WINDOW),
        ("b", BEGIN // MINUTE_MS),
    ]


def test_records_are_read_as_they_were_written() -> None:
    devices = np.zeros(2, DEVICE)
    devices["last"] = [[-1, 2, 3], [4, 5, 6]]
    devices["judged"] = [7, 8]
    sums = empty(2)
    sums["n"][1], sums["low"][1] = 60_000, -273_150
    seen = [b"", b"\x01\x02"]
    again, moments = minutes_from(minute_records(sums, seen))
    assert (again == sums).all()
    assert moments == seen
    records = device_records(devices, sums, seen)
    same, again, moments = devices_from(records)
    assert (same == devices).all()
    assert (again == sums).all()
    assert moments == seen
    same, again, moments = devices_from([None, records[1]])
    assert (same["judged"] == [0, 8]).all()
    assert (again == np.concatenate([empty(1), sums[1:]])).all()
    assert moments == seen


@settings(deadline=None)
@given(readings, st.integers(1, 7))
def test_changes_are_those_of_the_newer_against_the_value_before_it(
    rows: list[Row], size: int
) -> None:
    """The reference walks event by event; what is not newer than the last value never counts."""
    last: dict[tuple[str, int], tuple[int, int]] = {}
    expected = []
    found = []
    memory = Memory()
    for at in range(0, len(rows), size):
        event = rows[at : at + size]
        changes = memory.take(event)
        device_ids = list(dict.fromkeys(row[0] for row in event))
        found += [
            (device_ids[d], m, v, p, t, q)
            for d, m, v, p, t, q in zip(
                *(getattr(changes, n).tolist() for n in changes.__slots__), strict=True
            )
        ]
        for device, moment, *metrics in sorted(event, key=lambda row: row[1]):
            for which, value in enumerate(metrics):
                if value is None:
                    continue
                v = round(value * 1000)
                before = last.get((device, which))
                if before is None or moment > before[0]:
                    last[device, which] = (moment, v)
                    if before is not None and abs(v - before[1]) > 2_000:
                        expected.append((device, which, v, before[1], moment, before[0]))
    assert sorted(found) == sorted(expected)


def test_a_change_of_exactly_the_threshold_is_none() -> None:
    memory = Memory()
    memory.take([("a", BEGIN, 20.0, None, None)])
    assert len(memory.take([("a", BEGIN + 1, 22.0, None, None)])) == 0
    assert len(memory.take([("a", BEGIN + 2, 24.001, None, None)])) == 1


def test_a_late_or_repeated_reading_is_never_a_change() -> None:
    memory = Memory()
    memory.take([("a", BEGIN + 5_000, 20.0, 50.0, None)])
    assert len(memory.take([("a", BEGIN + 4_000, 60.0, 90.0, None)])) == 0
    assert len(memory.take([("a", BEGIN + 5_000, 60.0, 90.0, None)])) == 0
    assert len(memory.take([("a", BEGIN + 6_000, 20.0, 50.0, None)])) == 0


def test_of_several_changes_the_strongest_of_each_device_and_metric_is_chosen() -> None:
    memory = Memory()
    memory.take([("a", BEGIN, 0.0, 50.0, None), ("b", BEGIN, 0.0, None, None)])
    changes = memory.take(
        [
            ("a", BEGIN + 1, 5.0, 55.0, None),
            ("a", BEGIN + 2, -5.0, 59.0, None),
            ("b", BEGIN + 1, 3.0, None, None),
            ("a", BEGIN + 3, 0.0, 59.0, None),
        ]
    )
    chosen = strongest(changes)
    assert [
        (int(changes.device[i]), int(changes.metric[i]), int(changes.value[i])) for i in chosen
    ] == [(0, 0, -5_000), (0, 1, 55_000), (1, 0, 3_000)]


def test_only_keeps_the_readings_of_the_chosen_devices() -> None:
    seen = observe(
        [
            batch([("a", 1, 1.0, None, None), ("b", 2, 2.0, None, None)]),
            batch([("c", 3, None, 3.0, None), ("b", 4, 4.0, None, None)]),
        ]
    )
    kept = seen.only(np.array([1, 2]))
    assert kept.device_ids == ("b", "c")
    assert kept.device.tolist() == [0, 1, 0]
    assert kept.timestamp.tolist() == [2, 3, 4]
    assert kept.values[:, 0].tolist() == [2_000, 0, 4_000]
