"""SIGTERM, last of all: each function is stopped in good order and ends with status 0."""

import json
import uuid
from datetime import UTC, datetime
from typing import Any

import httpx

from sensor_shared.contracts.events import ALERT_REQUESTED_V1, rfc3339

from .conftest import RECIPIENT
from .serving import Pair
from .test_events import attributes, same_rows


def test_a_mail_that_waits_goes_out_at_the_end(alerts: Pair, smtp_sink: Any) -> None:
    """What `stop` does takes SMTP and ClickHouse: it is awaited, although nobody awaits it."""
    device = f"kn-func-{uuid.uuid4().hex[:8]}"
    asked = {
        "alert_id": uuid.uuid4().hex,
        "device_id": device,
        "alert_type": "HUMIDITY_HIGH",
        "timestamp": rfc3339(datetime.now(UTC)),
        "rule": "humidity-high",
        "metric": "humidity",
        "value": 99.0,
        "threshold": 95.0,
    }
    headers = attributes(ALERT_REQUESTED_V1)
    assert alerts.ask("POST", headers=headers, content=json.dumps(asked).encode()).is_success
    assert mails(smtp_sink) == []
    assert [one.terminate() for one in alerts.both()] == [0, 0]
    assert len(mails(smtp_sink)) >= 2
    sql = "SELECT email_sent FROM alerts FINAL WHERE device_id = {device:String}"
    assert same_rows(alerts, sql, device=device) == [[True]]


def mails(sink: Any) -> list[Any]:
    found = httpx.get(f"{sink.url}/messages").json()
    return [mail for mail in found if RECIPIENT in json.dumps(mail)]


def test_sigterm_ends_each_function_in_good_order(function: Pair) -> None:
    if function.func.process.poll() is None:
        assert function.func.terminate() == 0
    lines = function.func.lines()
    assert [line["event"] for line in lines if line["event"] in ("serving", "stopped")] == [
        "serving",
        "stopped",
    ]
    assert [line for line in lines if line["level"] == "error"] == []
