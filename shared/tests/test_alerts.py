import json
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensor_shared.contracts import alerts
from sensor_shared.contracts.errors import Poison
from sensor_shared.contracts.events import ALERT_REQUESTED_V1, Event
from sensor_shared.contracts.rules import AlertType, Breach, Severity

BREACH = Breach(
    device_id="industrial_sensor_000007",
    rule_id="temperature-high",
    alert_type=AlertType.TEMPERATURE_HIGH,
    metric="temperature",
    value=101.5,
    threshold=90.0,
    severity=Severity.HIGH,
    timestamp_ms=1_790_000_000_123,
    latitude=40.1,
    longitude=27.5,
    region="west",
)


def received(data: bytes) -> Event:
    return Event(id="1", source="/test", type=ALERT_REQUESTED_V1, data=data)


def test_what_is_encoded_is_what_is_decoded() -> None:
    request = alerts.requested(BREACH)
    assert alerts.decode(alerts.encode(request, "/sensor/consumer")) == request


def test_a_breach_keeps_its_moment_to_the_millisecond() -> None:
    stamp = alerts.requested(BREACH).timestamp
    assert stamp == datetime(2026, 9, 21, 14, 13, 20, 123_000, tzinfo=UTC)


def test_reporting_the_same_breach_again_is_the_same_event() -> None:
    first = alerts.encode(alerts.requested(BREACH), "/sensor/consumer")
    again = alerts.encode(alerts.requested(BREACH), "/sensor/consumer")
    assert first == again
    assert first.key == again.key


@pytest.mark.parametrize("id_", ["", "a/b", "a\n", "a\x7f", "live", ".", "..", "x" * 129])
def test_an_id_that_no_path_can_name_is_refused(id_: str) -> None:
    request = msgspec.structs.replace(alerts.requested(BREACH), alert_id=id_)
    with pytest.raises(Poison, match="alert_id"):
        alerts.decode(alerts.encode(request, "/test"))


@pytest.mark.parametrize("id_", ["6f1d0c3b", "live-7", "delivered", "...", "çağri 7", "x" * 128])
def test_any_other_id_is_taken(id_: str) -> None:
    request = msgspec.structs.replace(alerts.requested(BREACH), alert_id=id_)
    assert alerts.decode(alerts.encode(request, "/test")).alert_id == id_


def test_the_event_is_keyed_by_its_device() -> None:
    event = alerts.encode(alerts.requested(BREACH), "/sensor/consumer")
    assert event.type == ALERT_REQUESTED_V1
    assert event.extensions["partitionkey"] == BREACH.device_id


def test_fields_of_a_later_version_are_ignored_and_optional_ones_may_be_missing() -> None:
    request = alerts.decode(
        received(
            b'{"alert_id":"a","device_id":"d","alert_type":"SENSOR_MALFUNCTION",'
            b'"timestamp":"2026-11-23T19:32:18.979Z","rule":"stuck","colour":"red"}'
        )
    )
    assert request.alert_type is AlertType.SENSOR_MALFUNCTION
    assert (request.severity, request.value, request.location) == (None, None, alerts.Place())


@pytest.mark.parametrize(
    "change",
    [
        {"device_id": "two words"},
        {"device_id": "line\n"},
        {"alert_type": "TOO_LOUD"},
        {"timestamp": "2026-11-23T19:32:18"},
        {"alert_id": ""},
        {"alert_id": "a/b"},
        {"alert_id": "a\n"},
        {"alert_id": "live"},
        {"alert_id": ".."},
        {"alert_id": "a" * 129},
        {"message": "x" * 1_001},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_request_that_breaks_the_contract_can_never_succeed(change: dict[str, str]) -> None:
    document = json.loads(alerts.encode(alerts.requested(BREACH), "/test").data) | change
    with pytest.raises(Poison):
        alerts.decode(received(json.dumps(document).encode()))


@pytest.mark.parametrize("alert_id", ["a" * 128, "lively", "...", "a b%2f é"])
def test_any_other_text_is_an_id(alert_id: str) -> None:
    document = json.loads(alerts.encode(alerts.requested(BREACH), "/test").data)
    data = json.dumps({**document, "alert_id": alert_id}).encode()
    assert alerts.decode(received(data)).alert_id == alert_id


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_never_anything_but_poison(data: bytes) -> None:
    with pytest.raises(Poison):
        alerts.decode(received(data))
