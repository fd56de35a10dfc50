"""When a silence holds: scopes, ends, and windows by clocks that are changed twice a year."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from sensor_alerts.domain.scope import Scope
from sensor_alerts.domain.silence import Recurrence, Silence
from sensor_shared.contracts.rules import Severity

from .notify_world import AT, change

DAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]
ZONES = [
    "UTC",
    "Europe/Istanbul",  # one offset all year
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",  # changes by half an hour
    "Asia/Kathmandu",
    "Africa/Casablanca",  # goes back for Ramadan
]


def begins(zone: str, days: set[int], at: time, first: date, last: date) -> list[datetime]:
    """Returns when weekly windows begin, UTC: what a person with a calendar would say.

    A time that the clocks leave out is the first one after the gap; of one that comes twice it is
    the first.
    """
    found, day = [], first
    while day <= last:
        if day.isoweekday() % 7 in days:
            moment = datetime.combine(day, at, ZoneInfo(zone))
            while moment.astimezone(UTC).astimezone(ZoneInfo(zone)).replace(
                tzinfo=None
            ) != moment.replace(tzinfo=None):
                moment += timedelta(minutes=1)  # by the clock, until it is a time that there is
            found.append(moment.astimezone(UTC))
        day += timedelta(days=1)
    return found


@settings(max_examples=400, deadline=None)
@given(
    zone=st.sampled_from(ZONES),
    days=st.sets(st.integers(0, 6), min_size=1),
    at=st.builds(time, st.integers(0, 23), st.integers(0, 59)),
    minutes=st.integers(1, 7 * 1440),
    now=st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31), timezones=st.just(UTC)),  # noqa: DTZ001
)
@example("Europe/Berlin", {0}, time(2, 30), 60, datetime(2026, 3, 29, 1, 0, tzinfo=UTC))
@example("Europe/Berlin", {0}, time(2, 30), 60, datetime(2026, 3, 29, 1, 59, 59, tzinfo=UTC))
@example("Europe/Berlin", {0}, time(2, 45), 10, datetime(2026, 10, 25, 1, 50, tzinfo=UTC))
@example("America/New_York", {0}, time(1, 30), 90, datetime(2026, 11, 1, 6, 45, tzinfo=UTC))
@example("Australia/Lord_Howe", {0}, time(2, 10), 5, datetime(2026, 10, 3, 15, 31, tzinfo=UTC))
def test_a_weekly_window_is_where_a_calendar_has_it(
    zone: str, days: set[int], at: time, minutes: int, now: datetime
) -> None:
    """In every time zone, also in the nights when clocks are changed."""
    cron = f"{at.minute} {at.hour} * * {','.join(DAYS[day] for day in sorted(days))}"
    length = timedelta(minutes=minutes)
    calendar = begins(
        zone,
        days,
        at,
        (now - length).date() - timedelta(days=9),
        now.date() + timedelta(days=2),
    )
    inside = [begin for begin in calendar if begin <= now < begin + length]
    since = Recurrence(cron=cron, zone=zone, minutes=minutes).since(now)
    assert (since is not None) == bool(inside)
    if since is not None:
        assert since in inside


@pytest.mark.parametrize(
    ("cron", "minutes", "now", "held"),
    [
        ("0 22 * * SAT", 120, "2026-11-28T19:00:00+00:00", True),  # 22:00 in Istanbul
        ("0 22 * * SAT", 120, "2026-11-28T18:59:59+00:00", False),
        ("0 22 * * SAT", 120, "2026-11-28T20:59:59.999+00:00", True),
        ("0 22 * * SAT", 120, "2026-11-28T21:00:00+00:00", False),
        ("0 2 * * SUN#1", 60, "2026-12-05T23:30:00+00:00", True),  # the first Sunday of a month
        ("0 2 * * SUN#1", 60, "2026-12-12T23:30:00+00:00", False),
        ("30 0 L * *", 30, "2026-11-29T21:45:00+00:00", True),  # its last day
    ],
)
def test_a_window_ends_when_its_minutes_are_over(
    cron: str, minutes: int, now: str, held: bool
) -> None:
    again = Recurrence(cron=cron, zone="Europe/Istanbul", minutes=minutes)
    assert (again.since(datetime.fromisoformat(now)) is not None) is held


@pytest.mark.parametrize(
    "fields",
    [
        {"cron": "0 22 * *", "minutes": 1},
        {"cron": "0 0 22 * * SAT", "minutes": 1},
        {"cron": "61 22 * * SAT", "minutes": 1},
        {"cron": "0 0 30 2 *", "minutes": 1},
        {"cron": "0 0 * * *", "minutes": 0},
        {"cron": "0 0 * * *", "minutes": 7 * 1440 + 1},
        {"cron": "0 0 * * *", "minutes": 1, "zone": "Europe/Nowhere"},
        {"cron": "0 0 * * *", "minutes": 1, "zone": "../../etc/passwd"},
        {"cron": "0 0 * * *", "minutes": 1, "zone": "/etc/passwd"},
    ],
)
def test_a_recurrence_that_cannot_be_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Recurrence.model_validate(fields)


def silence(**fields: object) -> Silence:
    return Silence.model_validate(
        {
            "silence_id": "one",
            "scope": Scope(),
            "starts_at": AT,
            "ends_at": AT + timedelta(hours=1),
            "author": "ayse",
            "reason": "the furnace is being repaired",
            "created_at": AT,
            "updated_at": AT,
        }
        | fields
    )


def test_a_silence_holds_from_its_start_until_just_before_its_end() -> None:
    once = silence()
    assert not once.holds(AT - timedelta(milliseconds=1))
    assert once.holds(AT)
    assert once.holds(AT + timedelta(minutes=59, seconds=59.999))
    assert not once.holds(AT + timedelta(hours=1))


def test_a_recurring_one_holds_in_its_windows_between_start_and_end_only() -> None:
    nightly = silence(
        ends_at=AT + timedelta(days=2), recurrence=Recurrence(cron="0 1 * * *", minutes=60)
    )
    nights = [AT.replace(hour=1, minute=30) + timedelta(days=n) for n in range(5)]
    assert [nightly.holds(night) for night in nights] == [False, True, True, False, False]
    assert not nightly.holds(AT + timedelta(hours=1))


@pytest.mark.parametrize(
    "fields",
    [
        {"ends_at": AT},
        {"ends_at": AT - timedelta(seconds=1)},
        {"ends_at": AT + timedelta(days=367)},
        {"ends_at": AT.replace(tzinfo=None)},
        {"author": ""},
        {"reason": ""},
        {"reason": "x" * 1_001},
        {"scope": {"devices": ["x" * 129]}},
        {"scope": {"devices": ["a\nb"]}},
        {"scope": {"severities": ["WORSE"]}},
        {"scope": {"everything": True}},
    ],
)
def test_a_silence_that_cannot_be_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        silence(**fields)


@pytest.mark.parametrize(
    ("scope", "covered"),
    [
        ({}, True),
        ({"devices": ["industrial_*"]}, True),
        ({"devices": ["industrial_sensor_00000?"]}, True),
        ({"devices": ["weather-*", "*7"]}, True),
        ({"devices": ["INDUSTRIAL_*"]}, False),
        ({"devices": ["sensor"]}, False),
        ({"devices": ["weather-*"]}, False),
        ({"device_types": ["industrial"]}, True),
        ({"device_types": ["weather"]}, False),
        ({"alert_types": ["TEMPERATURE_HIGH", "HUMIDITY_HIGH"]}, True),
        ({"alert_types": ["HUMIDITY_HIGH"]}, False),
        ({"regions": ["west"]}, True),
        ({"regions": ["east"]}, False),
        ({"rules": ["temperature-high"]}, True),
        ({"rules": ["humidity-high"]}, False),
        ({"severities": ["LOW", "MEDIUM"]}, True),
        ({"severities": ["HIGH"]}, False),
        ({"devices": ["industrial_*"], "regions": ["east"]}, False),
    ],
)
def test_a_scope_covers_what_meets_all_its_lists(scope: dict[str, object], covered: bool) -> None:
    assert Scope.model_validate(scope).covers(change().alert) is covered


def test_an_alert_that_gets_worse_can_leave_a_silence() -> None:
    quiet = silence(scope={"severities": ["LOW", "MEDIUM"]})
    assert quiet.silences(change().alert, AT)
    assert not quiet.silences(change(severity=Severity.CRITICAL).alert, AT)


def test_a_pattern_of_many_stars_is_matched_at_once() -> None:
    """A stranger's pattern must not cost time that grows with every star."""
    scope = Scope(devices=("*a" * 60 + "b",))
    assert not scope.covers(change(device_id="a" * 128).alert)
