"""What the alert service does not take is told as a mistake in the request."""

import pytest

from sensor_gateway.alerts.calls import invalid
from sensor_gateway.alerts.models import Alert
from sensor_gateway.silences.client import scope_of
from sensor_shared.contracts.rules import AlertType


@pytest.mark.parametrize(
    ("details", "location", "said"),
    [
        ("page_token: is not one", ("query", "cursor"), "is not one"),
        ("end_time: no", ("query", "to"), "no"),
        ("alert_id: too long", ("path", "alert_id"), "too long"),
        ("note: a comment: says", ("body", "note"), "a comment: says"),
        ("scope.devices.0: bad", ("body", "scope.devices.0"), "bad"),
        ("silence: ends_at must be later", ("body",), "ends_at must be later"),
        ("there are 10000 silences; end some", ("body",), "there are 10000 silences; end some"),
        ("", ("body",), ""),
    ],
)
def test_the_field_of_the_contract_becomes_the_place_in_the_request(
    details: str, location: tuple[str, ...], said: str
) -> None:
    (mistake,) = invalid(details).errors()
    assert (mistake["loc"], mistake["msg"]) == (location, said)


@pytest.mark.parametrize(
    ("device_id", "pattern"),
    [
        ("industrial_sensor_000007", "industrial_sensor_000007"),
        ("region:*[a]?", "region:[*][[]a][?]"),
    ],
)
def test_a_silence_of_an_alert_is_about_its_device_alone(device_id: str, pattern: str) -> None:
    """A region may have any name, and a group of devices is named after it."""
    alert = Alert.model_construct(
        device_id=device_id, rule_id="", alert_type=AlertType.DEVICE_OFFLINE
    )
    scope = scope_of(alert)
    assert (scope.devices, scope.rules) == ([pattern], [])
    assert scope.alert_types == [AlertType.DEVICE_OFFLINE]
    ruled = scope_of(alert.model_copy(update={"rule_id": "device-offline"}))
    assert (ruled.rules, ruled.alert_types) == (["device-offline"], [])
