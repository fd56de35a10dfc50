"""The event of an alert's change: golden data of its first version is read for ever."""

import json
from datetime import UTC, datetime

import msgspec
import pytest

from sensor_shared.contracts import alert_changes
from sensor_shared.contracts.alert_changes import (
    AlertChange,
    AlertSnapshot,
    AlertState,
    ChangeKind,
    change_id,
)
from sensor_shared.contracts.errors import Poison
from sensor_shared.contracts.events import ALERT_CHANGED_V1, Event
from sensor_shared.contracts.rules import AlertType, Severity

AT = datetime(2026, 11, 26, 12, 0, 0, 125_000, tzinfo=UTC)
CHANGE = AlertChange(
    change_id=change_id("a1", 2),
    kind=ChangeKind.CLEARED,
    at=AT,
    by="ann",
    note="fan is on",
    severity_before=Severity.HIGH,
    alert=AlertSnapshot(
        alert_id="a1",
        device_id="pump-1",
        rule_id="temperature-high",
        alert_type=AlertType.TEMPERATURE_HIGH,
        severity=Severity.HIGH,
        message="pump-1: temperature 101 °C breaks the limit of 90 °C",
        metric="temperature",
        value=101.0,
        threshold=90.0,
        region="west",
        state=AlertState.CLEARED,
        acknowledged_by="ann",
        acknowledged_at=AT,
        cleared_by="ann",
        cleared_at=AT,
        first_at=AT,
        last_at=AT,
        count=3,
        version=2,
    ),
)
GOLDEN = """{"change_id":"3f6b","kind":"cleared","at":"2026-11-26T12:00:00.125000Z","by":"ann",
"note":"fan is on","severity_before":"HIGH","alert":{"alert_id":"a1","device_id":"pump-1",
"rule_id":"temperature-high","alert_type":"TEMPERATURE_HIGH","severity":"HIGH",
"message":"pump-1: temperature 101 °C breaks the limit of 90 °C","metric":"temperature",
"value":101.0,"threshold":90.0,"region":"west","device_type":"","latitude":null,"longitude":null,
"state":"cleared","acknowledged_by":"ann","acknowledged_at":"2026-11-26T12:00:00.125000Z",
"cleared_by":"ann","cleared_at":"2026-11-26T12:00:00.125000Z","first_at":"2026-11-26T12:00:00.125000Z",
"last_at":"2026-11-26T12:00:00.125000Z","count":3,"members":0,"metadata":{},"version":2}}"""


def decoded(data: bytes) -> AlertChange:
    return alert_changes.decode(Event("1", "/s", ALERT_CHANGED_V1, data))


def test_a_change_comes_back_as_it_was_sent() -> None:
    event = alert_changes.encode(CHANGE)
    assert (event.type, event.id, event.subject) == (ALERT_CHANGED_V1, CHANGE.change_id, "a1")
    assert event.extensions["partitionkey"] == "pump-1"
    assert alert_changes.decode(event) == CHANGE


def test_the_golden_data_is_read_and_written_field_by_field() -> None:
    golden = json.loads(GOLDEN)
    wanted = msgspec.structs.replace(CHANGE, change_id="3f6b")
    assert decoded(GOLDEN.encode()) == wanted
    assert json.loads(alert_changes.encode(wanted).data) == golden


def test_a_later_version_may_add_fields_and_leave_out_what_has_a_default() -> None:
    document = json.loads(GOLDEN)
    document["colour"] = "red"
    for name in ("region", "members", "acknowledged_by", "acknowledged_at"):
        del document["alert"][name]
    read = decoded(json.dumps(document).encode())
    assert (read.alert.region, read.alert.acknowledged) == ("", False)


def test_a_repetition_has_the_same_id_and_every_version_another() -> None:
    assert change_id("a1", 2) == change_id("a1", 2)
    assert len({change_id(id_, version) for id_ in ("a1", "a12") for version in (2, 3, 22)}) == 6


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"change_id":"x"}', b"\xff"])
def test_what_is_no_change_can_never_be_read(data: bytes) -> None:
    with pytest.raises(Poison):
        decoded(data)
