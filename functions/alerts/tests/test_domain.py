"""What an alert is, without any I/O."""

from datetime import UTC, datetime, timedelta

import pytest

from sensor_alerts.domain.alert import InvalidRequestError, severity_of
from sensor_shared.contracts.alerts import Place
from sensor_shared.contracts.rules import AlertType, Severity

from .alert_world import NOW, alert


@pytest.mark.parametrize(
    ("value", "severity"),
    [
        (90.1, Severity.LOW),
        (94.9, Severity.LOW),
        (95.0, Severity.MEDIUM),
        (100.0, Severity.HIGH),
        (109.9, Severity.HIGH),
        (110.0, Severity.CRITICAL),
    ],
)
@pytest.mark.parametrize("rule", ["temperature-high", "a rule of somebody else's", ""])
def test_severity_follows_the_excess(value: float, severity: Severity, rule: str) -> None:
    assert alert(value=value, rule=rule).severity is severity


def test_a_value_below_a_lower_limit_exceeds_it_too() -> None:
    low = alert(alert_type=AlertType.TEMPERATURE_LOW, rule="", value=-25.0, threshold=0.0)
    assert low.severity is Severity.CRITICAL


def test_the_severity_that_the_request_names_holds() -> None:
    assert alert(value=200.0, severity=Severity.LOW).severity is Severity.LOW


def test_an_alert_without_a_value_is_low_and_says_what_it_is_about() -> None:
    offline = alert(alert_type=AlertType.DEVICE_OFFLINE, metric=None, value=None, threshold=None)
    assert offline.severity is Severity.LOW
    assert offline.message == "industrial_sensor_000007: device offline"


@pytest.mark.parametrize(
    "wrong",
    [
        {"value": float("nan")},
        {"threshold": float("inf")},
        {"location": Place(latitude=float("nan"))},
        {"timestamp": NOW + timedelta(days=2)},
        {"timestamp": datetime(1969, 1, 1, tzinfo=UTC)},
    ],
)
def test_numbers_and_moments_that_cannot_be_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidRequestError):
        alert(**wrong)


def test_moments_are_kept_in_utc_to_the_millisecond() -> None:
    moment = datetime.fromisoformat("2026-11-23T14:30:00.123987+05:00")
    kept = alert(timestamp=moment).first_at
    assert kept == datetime(2026, 11, 23, 9, 30, 0, 123_000, tzinfo=UTC)
    assert kept.tzinfo is UTC


def test_ranks_and_severities_are_the_same_order() -> None:
    assert [severity_of(severity.rank) for severity in Severity] == list(Severity)
    assert [severity.rank for severity in Severity] == [1, 2, 3, 4]
