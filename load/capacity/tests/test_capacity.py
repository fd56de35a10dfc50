"""The capacity model: its arithmetic on made-up results, its constants on the real Redis."""

import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from redis.asyncio import Redis

from load.capacity import render, sizes
from load.capacity.__main__ import DOCUMENT, RESULTS, SIZES, main
from load.capacity.costs import Cost, Measured, Point, ResultsError, read, separate
from load.capacity.limits import ROOT, limits
from load.capacity.model import Plan, Prices, network_bytes, size, stored_gb
from sensor_analytics.state import Change, DeviceStore
from sensor_local.testing import Address
from sensor_producer.devices import make_devices
from sensor_producer.dice import Dice
from sensor_producer.faults import FaultSettings
from sensor_producer.fleet import Fleet
from sensor_producer.forms import ArrowForm
from sensor_shared.adapters.latest import LatestReadings
from sensor_shared.adapters.redis import RedisSettings, connect
from sensor_shared.contracts.events import ARROW_STREAM, READINGS_V1, Event
from sensor_shared.contracts.readings import decode
from sensor_shared.contracts.windows.layout import (
    device_records,
    devices_from,
    empty,
    minute_records,
)
from sensor_shared.testing import rest

MADE_UP = Path(__file__).with_name("made_up_results.json")


@pytest.fixture
def measured() -> Measured:
    return read(MADE_UP)


def changed(folder: Path, **values: Any) -> Path:
    """The made-up results with other values, keys with `__` between."""
    results = json.loads(MADE_UP.read_text(encoding="utf-8"))
    for path, value in values.items():
        *keys, last = path.split("__")
        at = results
        for key in keys:
            at = at[key]
        at[last] = value
    file = folder / "results.json"
    file.write_text(json.dumps(results), encoding="utf-8")
    return file


def test_two_rates_tell_the_cost_of_an_event_from_that_of_a_reading() -> None:
    """Cores that 900 µs an event and 5 µs a reading make give these two costs back."""
    many = Point(200, 100_000, {"consumer": 200 * 900e-6 + 100_000 * 5e-6})
    one = Point(2_000, 2_000, {"consumer": 2_000 * 900e-6 + 2_000 * 5e-6})
    found = separate(many, one, "consumer")
    assert (found.event, found.reading) == pytest.approx((900e-6, 5e-6))


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (1.0, 0.001, Cost(0.0, 1.0 / 100_000)),  # an event would cost less than nothing
        (0.1, 2.0, Cost(0.1 / 200, 0.0)),  # a reading would
    ],
)
def test_no_cost_is_negative_and_the_rate_that_is_deployed_is_met(
    first: float, second: float, expected: Cost
) -> None:
    many, one = Point(200, 100_000, {"x": first}), Point(2_000, 2_000, {"x": second})
    found = separate(many, one, "x")
    assert found == expected
    assert found.cores(200, 100_000) == pytest.approx(first)


def test_costs_are_those_of_the_results(measured: Measured) -> None:
    """By hand: 500 µs an event and 6 µs a reading are 0.7 and 1.012 cores of the consumer."""
    assert measured.cost["consumer"].event == pytest.approx(502e-6, rel=0.01)
    # At 10,000/s it used 0.3 cores, much more than these costs explain: that is taken too.
    assert measured.cost["consumer"].cores(40, 10_000) == pytest.approx(0.3)
    assert measured.cost["analytics"] == Cost(0.0, 0.4 / 10_000)
    assert measured.request == pytest.approx(0.1 / (12_000 / 60))
    assert measured.stored_bytes == 5.0


def test_both_sources_pay_for_the_dispatcher(measured: Measured) -> None:
    """The benchmark's path has one of them: twice 0.2 cores at the rate that it had."""
    assert measured.cost["dispatcher"].cores(200, 100_000) == pytest.approx(0.4)


def test_a_plan_is_worked_out_as_by_hand(measured: Measured) -> None:
    plan = Plan(devices=100_000, interval=1)
    sizing = size(plan, measured)
    assert (plan.readings, plan.events) == (100_000, 400)
    # 3 cores of consumer and 4 of analytics at 60 % of a core each.
    assert sizing.pods["consumer"] == 5
    assert sizing.pods["analytics"] == 7
    assert sizing.pods["auth"] == plan.min_pods
    # 0.5 cores at 10,000 readings/s, ten times that, at 60 %, twice.
    assert sizing.clickhouse_cores == pytest.approx(5 / 0.6 * 2)
    raw = 100_000 * 86_400 * 90 * 5.0
    rollups = 100_000 * (28_800 * 365 + 518 * 365 * 5)
    assert sizing.clickhouse_gb == pytest.approx(2 * (raw + rollups) / 1e9)
    assert sizing.shards == 1
    assert sizing.inserts_per_second == 10 / 5
    assert sizing.redis_used == pytest.approx(2.5)
    assert sizing.redis_processes == 5
    in_kafka, _ = sizes.reading_bytes(250)
    assert sizing.kafka_gb == pytest.approx(100_000 * in_kafka * 86_400 * 3 / 1e9)
    assert sizing.pods["dispatcher"] < 4
    assert sizing.partitions == plan.min_partitions
    expected = sizing.cores * 10 + sizing.memory_gib * 2 + sizing.storage_gb * 0.5
    dear = replace(plan, prices=Prices(core=10, memory_gib=2, storage_gb=0.5))
    assert size(dear, measured).cost == pytest.approx(expected)


def test_ten_times_the_devices_take_ten_times_as_much(measured: Measured) -> None:
    small, large = (size(Plan(devices=count), measured) for count in (1e6, 1e7))
    for name in ("kafka_gb", "clickhouse_gb", "redis_gib", "network_mb", "redis_used"):
        assert getattr(large, name) == pytest.approx(10 * getattr(small, name))
    assert large.cost == pytest.approx(10 * small.cost, rel=0.02)


def test_slower_devices_take_less_of_everything(measured: Measured) -> None:
    quick, slow = (size(Plan(devices=1e6, interval=each), measured) for each in (1.0, 60.0))
    assert slow.clickhouse_cores == pytest.approx(quick.clickhouse_cores / 60)
    assert slow.redis_gib < quick.redis_gib
    # A minute of one reading is kept as a minute all the same.
    plan = Plan(devices=1e6, interval=60)
    assert stored_gb(plan, measured) > 1e6 * 28_800 * 365 / 1e9
    assert network_bytes(plan, measured, 100, 120) > 0


def test_a_plan_has_at_least_the_partitions_of_the_manifests(measured: Measured) -> None:
    topics = (ROOT / "infra/knative/topics/topics.yaml").read_text(encoding="utf-8")
    delivered = {
        topic["metadata"]["name"]: topic["spec"]["partitions"]
        for topic in yaml.safe_load_all(topics)
        if topic
    }
    assert size(Plan(devices=1), measured).partitions == delivered["sensor-data"]
    many = size(Plan(devices=1_000_000), measured)
    assert many.partitions == 2 * many.pods["dispatcher"] > delivered["sensor-data"]


def test_limits_come_in_the_order_in_which_they_are_met(measured: Measured) -> None:
    found = limits(Plan(devices=1.0), measured)
    assert [one.devices for one in found] == sorted(one.devices for one in found)
    at = {one.name.split(" (")[0]: one.devices for one in found}
    # 0.25 cores at 10,000: 0.6 of its one core is 24,000.
    assert at["one Redis process"] == pytest.approx(24_000)
    assert at["4 pods of analytics"] == pytest.approx(60_000)
    assert at["one ClickHouse server of 64 cores"] == pytest.approx(768_000)
    slow = {one.name: one.devices for one in limits(Plan(devices=1.0, interval=10), measured)}
    assert slow["one Redis process (one core)"] == pytest.approx(240_000)
    # Just below a disk's limit one server holds it, just above it does not.
    full = at["one ClickHouse server's disks of 30 TB"]
    wide = Plan(devices=full * 0.999, server_cores=1e9)
    assert size(wide, measured).shards == 1
    assert size(replace(wide, devices=full * 1.001), measured).shards == 2


@pytest.mark.parametrize(
    ("value", "text"),
    [(1_234_567, "1,230,000"), (999.6, "1000"), (34.0, "34"), (3.14, "3.1"), (0.0731, "0.073")],
)
def test_numbers_have_the_figures_that_mean_something(value: float, text: str) -> None:
    assert render.number(value) == text


def test_without_results_it_says_how_to_get_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--results", str(tmp_path / "none.json")]) == 1
    assert "`make bench` measures it" in capsys.readouterr().err


@pytest.mark.parametrize("lacking", [{"steady": None}, {"details__max__single__best": None}])
def test_results_of_single_pieces_are_refused(tmp_path: Path, lacking: dict[str, None]) -> None:
    with pytest.raises(ResultsError, match="whole run"):
        read(changed(tmp_path, **lacking))


def test_the_command_prints_what_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--results", str(MADE_UP), "--devices", "2000000", "--interval", "10"]
    assert main([*words, "--price-core", "0.5"]) == 0
    said = capsys.readouterr().out
    assert "| devices, one reading every 10 s | 2,000,000 |" in said
    assert "| readings/s | 200,000 |" in said
    assert main([*words, "--readings-per-record", "601"]) == 1
    assert main([*words, "--busy", "0"]) == 1


def test_the_document_holds_what_the_command_prints() -> None:
    """For the results in the repository; until there are any, it says so."""
    block = render.inside(DOCUMENT.read_text(encoding="utf-8"))
    if not RESULTS.exists():
        assert block == render.NOT_MEASURED
    else:
        expected = render.answer(Plan(devices=SIZES[0]), SIZES, read(RESULTS))
        assert block == expected.strip(), "run `make capacity DOC=1`"


def test_a_block_is_put_between_its_marks(measured: Measured) -> None:
    document = f"before\n{render.BEGIN}\nold\n{render.END}\nafter\n"
    block = render.answer(Plan(devices=1e4), SIZES, measured)
    changed_document = render.put(document, block)
    assert render.inside(changed_document) == block.strip()
    assert changed_document.startswith("before\n")
    assert changed_document.endswith("\nafter\n")
    with pytest.raises(ValueError, match="no marks"):
        render.put("nothing", block)


def test_readings_are_as_large_as_the_producer_makes_them() -> None:
    """Many in a record take less each; 600 of them fit, as one record below 60,000 bytes."""
    small, large = sizes.reading_bytes(60), sizes.reading_bytes(600)
    assert 60 < large[1] < small[1] < 130
    assert large[1] * 600 < 60_000 + 300
    assert large[0] < large[1]


@pytest.fixture
async def redis(redis_server: Address, worker_id: str) -> AsyncIterator[Redis]:
    number = await rest.empty_database(redis_server.host, redis_server.port, worker_id)
    settings = RedisSettings(host=redis_server.host, port=redis_server.port, db=number)
    async with connect(settings) as client:
        yield client


async def memory(redis: Redis, pattern: str) -> float:
    """Returns what the keys take, as Redis counts it."""
    total = 0
    async for key in redis.scan_iter(pattern, count=1000):
        total += int(await redis.memory_usage(key, samples=0) or 0)
    return float(total)


@pytest.mark.integration
async def test_a_device_takes_the_memory_in_redis_that_the_model_says(redis: Redis) -> None:
    """200 devices with a reading a second and full windows, within 10 %.

    Of what grows by doubling, the latest readings, 20 %: at most that much is empty.
    """
    count, minutes = 200, sizes.TREND_MINUTES
    devices = make_devices(count, 42)
    fleet = Fleet(devices, Dice(42, count), 1.0, FaultSettings())
    first = fleet.moments(time.time_ns() // 1000)
    encode = ArrowForm(devices).table(fleet.measure(first, first + count))
    event = Event("1", "urn:test", READINGS_V1, encode(0, count), ARROW_STREAM)
    batch = decode(event, time.time_ns() // 1_000_000).batch
    await LatestReadings(redis).update(batch)
    latest = 2 * await memory(redis, "devices:latest:*") + await memory(redis, "devices:last_seen")

    moments = np.arange(0, 60_000, 1000).astype(np.uint16).tobytes()
    records = minute_records(empty(minutes), [moments] * minutes)
    nothing, current, _ = devices_from([None])
    (record,) = device_records(nothing, current, [moments[::2]])  # half a minute on average
    changes = [
        Change(device, None, record, list(enumerate(records, 29_000_000))) for device in devices.ids
    ]
    store = DeviceStore(redis, "capacity", minutes - 2)
    assert await store.save(changes) == set()
    windows = await memory(redis, "capacity:*") / count
    record_alone = windows - await memory(redis, "capacity:*/*") / count + sizes.KEY_BYTES

    assert latest / count == pytest.approx(sizes.LATEST_BYTES, rel=0.2)
    assert record_alone == pytest.approx(sizes.STATE_BYTES + len(moments) / 2, rel=0.1)
    windows += (1 + minutes) * sizes.KEY_BYTES
    assert windows == pytest.approx(sizes.redis_bytes(1, 1.0, 0) - sizes.LATEST_BYTES, rel=0.1)


def test_the_help_says_what_each_number_means_with_its_default(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    told = " ".join(capsys.readouterr().out.split())
    for word in ("seconds between two readings of a device (1.0)", "GB of its disks (30000.0)"):
        assert word in told
