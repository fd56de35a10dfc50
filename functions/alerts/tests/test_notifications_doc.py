"""What docs/notifications.md shows, executed."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
import yaml

from sensor_alerts.domain.notification import ChannelName
from sensor_alerts.domain.silence import Recurrence
from sensor_alerts.notify.message import Message, encode
from sensor_alerts.notify.routes import Routes
from sensor_alerts.notify.settings import SmtpSettings
from sensor_alerts.notify.webhook import signature
from sensor_shared.runtime.settings import Settings
from sensor_shared.telemetry.metrics import exposition

from .alert_world import ROOT, TOKEN, World
from .notify_world import SECRET, change, notification

TEXT = (ROOT / "docs" / "notifications.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def functions(code: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    exec(code, found)  # noqa: S102  (the code that the document shows)
    return found


VERIFY, SILENCE = (functions(code) for code in blocks("python"))


def test_a_receiver_that_does_as_the_document_says_knows_genuine_deliveries() -> None:
    one = notification(channel=ChannelName.WEBHOOK, target="operations")
    body, now, verify = encode(one), 1_795_000_000, VERIFY["verify"]
    other = "whsec_" + "b" * 40
    keys = [signature.key_of(other), signature.key_of(SECRET)]
    headers = signature.headers(keys, one.notification_id, now, body)
    later = headers | {"webhook-timestamp": str(now + 1)}
    assert verify(headers, body, SECRET, now=lambda: now) == one.notification_id
    assert verify(headers, body, other, now=lambda: now + 300) == one.notification_id
    attempts: tuple[Callable[[], Any], ...] = (
        lambda: verify(headers, body + b" ", SECRET, now=lambda: now),
        lambda: verify(headers, body, "whsec_" + "c" * 40, now=lambda: now),
        lambda: verify(headers, body, SECRET, now=lambda: now + 301),
        lambda: verify(headers, body, SECRET, now=lambda: now - 301),
        lambda: verify(headers | {"webhook-id": "0"}, body, SECRET, now=lambda: now),
        lambda: verify(later, body, SECRET, now=lambda: now),
    )
    for wrong in attempts:
        with pytest.raises(ValueError, match=r"too old|not signed"):
            wrong()


def test_the_message_shown_is_one_that_is_sent() -> None:
    (shown,) = blocks("json")
    message = msgspec.json.decode(shown, type=Message, strict=True)
    sent = msgspec.json.decode(encode(notification(change())), type=Message)
    assert message.data.alert.alert_id == sent.data.alert.alert_id
    assert (message.type, message.timestamp, message.news) == (
        sent.type,
        sent.timestamp,
        sent.news,
    )
    fields = msgspec.json.decode(shown)
    known = msgspec.json.decode(encode(notification(change())))
    assert set(fields) == set(known)
    assert set(fields["data"]["alert"]) <= set(known["data"]["alert"])


def test_the_routes_shown_are_valid() -> None:
    (shown,) = blocks("yaml")
    assert len(Routes.model_validate(yaml.safe_load(shown)).routes) == 3


def test_the_settings_shown_are_taken(tmp_path: Any) -> None:
    class Mail(Settings):
        smtp: SmtpSettings

    (shown,) = (block for block in blocks("sh") if "TWINUP_SMTP_HOST" in block)
    environment = dict(line.split("=", 1) for line in shown.splitlines())
    (tmp_path / "password").write_text("a word of the tests\n", encoding="utf-8")
    environment["TWINUP_SMTP_PASSWORD_FILE"] = str(tmp_path / "password")
    smtp = Mail.load(environment).smtp
    assert smtp.recipients == ("operators@example.com", "night@example.com")


def test_the_windows_shown_are_when_the_document_says() -> None:
    rows = re.findall(r"^\| `([^`]+)` \| `([^`]+)` \| (\d+) \|", TEXT, re.MULTILINE)
    weekend, working, sunday = (
        Recurrence(cron=cron, zone=zone, minutes=int(minutes)) for cron, zone, minutes in rows
    )
    assert weekend.since(datetime(2026, 11, 28, 22, 59, tzinfo=UTC))
    assert not weekend.since(datetime(2026, 11, 28, 23, 0, tzinfo=UTC))
    assert working.since(datetime(2026, 11, 27, 4, 45, tzinfo=UTC))
    assert not working.since(datetime(2026, 11, 28, 4, 45, tzinfo=UTC))
    assert sunday.since(datetime(2026, 12, 6, 3, 0, tzinfo=UTC))
    assert not sunday.since(datetime(2026, 12, 13, 3, 0, tzinfo=UTC))


def test_every_metric_of_the_document_is_exposed() -> None:
    text = exposition()[0].decode()
    named = re.findall(r"^\| `(sensor_[a-z_]+)` \|", TEXT, re.MULTILINE)
    assert len(named) == 7
    assert [name for name in named if f"# HELP {name}" not in text] == []


@pytest.mark.integration
async def test_the_query_runs_and_the_call_makes_a_silence(world: World) -> None:
    (query,) = blocks("sql")
    assert await world.rows(query) == []
    service = await world.ready()
    made = await SILENCE["silence_the_furnaces"](f"127.0.0.1:{service.function.grpc_port}", TOKEN)
    assert await world.rows("SELECT silence_id, cron FROM silences FINAL") == [
        (made.silence_id, "0 22 * * SAT")
    ]
