"""When a PingSource ticks, and what it sends."""

from datetime import UTC, datetime
from typing import Any

import pytest

from sensor_dispatcher.manifests import PingSource
from sensor_dispatcher.ping import POLICY, next_tick, to_event

NOW = datetime(2026, 3, 28, 22, 59, 58, 400_000, tzinfo=UTC)


def ping(**spec: Any) -> PingSource:
    return PingSource.model_validate(
        {
            "apiVersion": "sources.knative.dev/v1",
            "kind": "PingSource",
            "metadata": {"name": "sweep"},
            "spec": {
                "sink": {
                    "ref": {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": "s"}
                },
                **spec,
            },
        }
    )


@pytest.mark.parametrize(
    ("schedule", "timezone", "expected"),
    [
        ("*/5 * * * * *", None, "2026-03-28T23:00:00+00:00"),
        ("59 * * * * *", None, "2026-03-28T22:59:59+00:00"),
        ("* * * * *", None, "2026-03-28T23:00:00+00:00"),
        ("0 1 ? * *", None, "2026-03-29T01:00:00+00:00"),
        # Berlin is at 23:59:58 and loses an hour that night.
        ("0 6 * * *", "Europe/Berlin", "2026-03-29T04:00:00+00:00"),
    ],
)
def test_schedules_may_have_seconds_and_a_time_zone(
    schedule: str, timezone: str | None, expected: str
) -> None:
    source = ping(schedule=schedule, timezone=timezone)
    assert next_tick(source, NOW) == datetime.fromisoformat(expected)


def test_a_tick_is_followed_by_the_next_one() -> None:
    source = ping(schedule="*/5 * * * * *")
    tick = next_tick(source, NOW)
    assert (next_tick(source, tick) - tick).total_seconds() == 5


def test_a_schedule_left_out_is_every_minute() -> None:
    assert ping().spec.schedule == "* * * * *"


def test_the_event_is_a_ping_of_its_source() -> None:
    source = ping(
        data='{"task": 1}',
        contentType="application/json",
        ceOverrides={"extensions": {"site": "b"}},
    )
    event = to_event(source, "ns", "id-1", NOW)
    assert event.data == b'{"task": 1}'
    assert event.attributes == {
        "specversion": "1.0",
        "id": "id-1",
        "source": "/apis/v1/namespaces/ns/pingsources/sweep",
        "type": "dev.knative.sources.ping",
        "time": "2026-03-28T22:59:58.400Z",
        "datacontenttype": "application/json",
        "site": "b",
    }


def test_base64_data_is_sent_as_the_text_it_is_like_knatives_adapter_does() -> None:
    assert to_event(ping(dataBase64="eA=="), "ns", "1", NOW).data == b"eA=="


def test_a_ping_without_data_has_no_content_type() -> None:
    event = to_event(ping(contentType="text/plain"), "ns", "1", NOW)
    assert event.data is None
    assert "datacontenttype" not in event.attributes


def test_ticks_are_retried_five_times_within_about_three_seconds() -> None:
    delays = [POLICY.before(n) for n in range(1, POLICY.retries + 1)]
    assert delays == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6])
