"""Forms and records: what the consumer's own decoder makes of them."""

import json
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from sensor_producer.devices import Devices, make_devices
from sensor_producer.dice import Dice
from sensor_producer.faults import Fault, FaultSettings
from sensor_producer.fleet import Fleet, Readings
from sensor_producer.records import MAX_VALUE_BYTES, Record, RecordMaker, partitions_of
from sensor_producer.settings import Form
from sensor_shared.contracts.events import (
    ARROW_STREAM,
    JSON,
    PLAIN_KAFKA_RECORD,
    READINGS_V1,
    Event,
)
from sensor_shared.contracts.readings import REGIONS, STATUSES, decode, device_type

NOW = datetime(2026, 7, 15, 12, 1, tzinfo=UTC)
PARTITIONS = 4
ALL_FORMS = list(Form)


def maker_of(devices: Devices, form: Form, batch_size: int = 1_000) -> RecordMaker:
    return RecordMaker(
        devices,
        form=form,
        partitions=PARTITIONS,
        source="urn:twinup:producer:test",
        batch_size=batch_size,
        clock=lambda: NOW,
    )


def make(devices: Devices, readings: Readings, form: Form, batch_size: int = 1_000) -> list[Record]:
    return list(maker_of(devices, form, batch_size).make(readings))


def headers_of(record: Record) -> dict[str, str]:
    headers = {}
    for name, value in record.headers:
        assert isinstance(value, bytes)
        headers[name] = value.decode()
    assert len(headers) == len(record.headers)
    return headers


def event_of(record: Record) -> Event:
    headers = headers_of(record)
    return Event(
        id=headers.get("ce_id", "partition:0/offset:0"),
        source=headers.get("ce_source", "test"),
        type=headers.get("ce_type", PLAIN_KAFKA_RECORD),
        data=record.value,
        content_type=headers.get("content-type"),
    )


@pytest.mark.parametrize("form", ALL_FORMS)
def test_the_decoder_reads_every_valid_reading_and_rejects_the_failed_ones(
    form: Form, devices: Devices, faulty_readings: Readings
) -> None:
    expected = {}
    for row in np.flatnonzero(~faulty_readings.suffering(Fault.FAILED)).tolist():
        device = int(faulty_readings.device[row])
        expected[devices.ids[device], int(faulty_readings.timestamp_ms[row])] = {
            "temperature": faulty_readings.temperature[row],
            "humidity": faulty_readings.humidity[row],
            "pressure": faulty_readings.pressure[row],
            "status": STATUSES[faulty_readings.status[row]],
            "latitude": devices.latitude[device],
            "longitude": devices.longitude[device],
            "region": REGIONS[devices.region[device]],
        }
    found: dict[tuple[str, int], dict[str, Any]] = {}
    reasons = []
    for record in make(devices, faulty_readings, form):
        decoded = decode(event_of(record), now_ms=int(NOW.timestamp() * 1000))
        reasons += [reject.reason for reject in decoded.rejects]
        assert decoded.unknown_fields == 0
        times = decoded.batch.column("timestamp").cast(pa.int64()).to_pylist()
        for row, time in zip(
            decoded.batch.drop_columns("timestamp").to_pylist(), times, strict=True
        ):
            found[row.pop("device_id"), time] = row
    assert found == expected
    assert reasons == ["no_measurement"] * int(faulty_readings.suffering(Fault.FAILED).sum())


@pytest.mark.parametrize("form", [Form.ARROW, Form.JSON])
def test_a_record_stays_below_the_bound_and_uses_it(form: Form) -> None:
    """A catch-up of many readings makes few, full records."""
    devices = make_devices(500, 1)
    fleet = Fleet(devices, Dice(1, 500), 1.0, FaultSettings())
    readings = fleet.measure(10**12, 10**12 + 20_000)
    records = make(devices, readings, form, batch_size=50_000)
    sizes = [len(record.value) for record in records]
    assert max(sizes) <= MAX_VALUE_BYTES
    assert max(sizes) > MAX_VALUE_BYTES * 0.85
    assert sum(len(record.readings) for record in records) == len(readings)


def test_a_record_that_comes_out_too_large_is_split() -> None:
    """Longer ids than the estimate reckons with."""
    devices = make_devices(500, 1)
    long = Devices(
        ids=tuple(id_ + "_" * 90 for id_ in devices.ids),
        kind=devices.kind,
        region=devices.region,
        latitude=devices.latitude,
        longitude=devices.longitude,
        turn=devices.turn,
    )
    fleet = Fleet(long, Dice(1, 500), 1.0, FaultSettings())
    readings = fleet.measure(10**12, 10**12 + 5_000)
    records = make(long, readings, Form.ARROW)
    assert max(len(record.value) for record in records) <= MAX_VALUE_BYTES
    assert sum(len(record.readings) for record in records) == len(readings)


@pytest.mark.parametrize("form", [Form.ARROW, Form.JSON])
def test_batch_size_bounds_the_readings_of_a_record(
    form: Form, devices: Devices, faulty_readings: Readings
) -> None:
    records = make(devices, faulty_readings, form, batch_size=7)
    assert max(len(record.readings) for record in records) == 7


@pytest.mark.parametrize("form", [Form.SINGLE, Form.PLAIN])
def test_single_forms_make_one_record_per_reading(
    form: Form, devices: Devices, faulty_readings: Readings
) -> None:
    records = make(devices, faulty_readings, form)
    assert len(records) == len(faulty_readings)
    for record in records[:20]:
        assert record.key.decode() == json.loads(record.value)["device_id"]


@pytest.mark.parametrize("form", [Form.SINGLE, Form.PLAIN])
def test_single_readings_of_a_device_go_to_one_partition(
    form: Form, devices: Devices, faulty_readings: Readings
) -> None:
    partitions = partitions_of(devices.ids, PARTITIONS)
    records = make(devices, faulty_readings, form)
    assert all(record.partition == partitions[record.readings.device[0]] for record in records)
    assert {record.partition for record in records} == set(range(PARTITIONS))


@pytest.mark.parametrize("form", [Form.ARROW, Form.JSON])
def test_batches_take_the_partitions_by_turns(
    form: Form, devices: Devices, faulty_readings: Readings
) -> None:
    """Few and large ones: what is due together is one record, and the next one goes on."""
    maker = maker_of(devices, form)
    ticks = [slice(start, start + 50) for start in range(0, 500, 50)]
    made = [list(maker.make(faulty_readings[tick])) for tick in ticks]
    assert [[record.partition for record in records] for records in made] == [
        [number % PARTITIONS] for number in range(10)
    ]


def test_devices_spread_evenly_over_partitions() -> None:
    counts = np.bincount(partitions_of(make_devices(10_000, 1).ids, 10))
    assert counts.min() > 900
    assert counts.max() < 1_100


def test_the_partition_is_the_one_that_kafka_clients_choose_for_the_device_id() -> None:
    """Known values of CRC-32: 0xCBF43926 of "123456789"."""
    assert partitions_of(("123456789",), 1_000).tolist() == [0xCBF43926 % 1_000]


def test_order_within_a_device_is_kept(devices: Devices, faulty_readings: Readings) -> None:
    for record in make(devices, faulty_readings, Form.ARROW):
        for device in np.unique(record.readings.device):
            times = record.readings.timestamp_ms[record.readings.device == device]
            assert np.all(np.diff(times) > 0)


@pytest.mark.parametrize(
    ("form", "content_type"),
    [(Form.ARROW, ARROW_STREAM), (Form.JSON, JSON), (Form.SINGLE, JSON)],
)
def test_records_are_cloudevents_in_binary_mode(
    form: Form, content_type: str, devices: Devices, faulty_readings: Readings
) -> None:
    records = make(devices, faulty_readings[:50], form)
    headers = [headers_of(record) for record in records]
    assert len({one["ce_id"] for one in headers}) == len(records)
    for record, one in zip(records, headers, strict=True):
        assert one["ce_specversion"] == "1.0"
        assert one["ce_type"] == READINGS_V1
        assert one["ce_source"] == "urn:twinup:producer:test"
        assert one["ce_time"] == "2026-07-15T12:01:00.000Z"
        assert one["ce_partitionkey"] == record.key.decode()
        assert one["content-type"] == content_type
        version, trace, span, flags = one["traceparent"].split("-")
        assert (version, len(trace), len(span), flags) == ("00", 32, 16, "01")


def test_plain_records_carry_the_original_headers_only(
    devices: Devices, faulty_readings: Readings
) -> None:
    for record in make(devices, faulty_readings[:20], Form.PLAIN):
        headers = headers_of(record)
        assert headers.keys() == {"device_type", "version"}
        assert headers["device_type"] == device_type(record.key.decode())


def test_json_looks_as_the_original_wrote_it(devices: Devices, faulty_readings: Readings) -> None:
    rows = faulty_readings[~faulty_readings.suffering(Fault.FAILED)][:1]
    (record,) = make(devices, rows, Form.PLAIN)
    document = json.loads(record.value)
    assert list(document) == [
        "device_id", "timestamp", "temperature", "humidity", "pressure", "location", "status",
    ]  # fmt: skip
    assert list(document["location"]) == ["latitude", "longitude", "region"]
    assert datetime.fromisoformat(document["timestamp"]).timestamp() * 1000 == pytest.approx(
        int(rows.timestamp_ms[0])
    )
    assert document["timestamp"].endswith("Z")


def test_the_arrow_stream_is_what_arrow_itself_reads(
    devices: Devices, faulty_readings: Readings
) -> None:
    (record, *_) = make(devices, faulty_readings, Form.ARROW)
    with pa.ipc.open_stream(record.value) as reader:
        table = reader.read_all()
    table.validate(full=True)
    assert table.num_rows == len(record.readings)


@pytest.mark.parametrize("form", ALL_FORMS)
def test_no_readings_make_no_records(
    form: Form, devices: Devices, faulty_readings: Readings
) -> None:
    assert make(devices, faulty_readings[:0], form) == []
