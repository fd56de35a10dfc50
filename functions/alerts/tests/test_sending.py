"""The small parts of sending: waits between tries, the line, signatures."""

import asyncio
import base64
import hashlib
import hmac
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sensor_alerts.domain.notification import Notification
from sensor_alerts.notify.backoff import Backoff
from sensor_alerts.notify.line import Line
from sensor_alerts.notify.settings import SmtpSettings, WebhookSettings
from sensor_alerts.notify.webhook import signature

from .alert_world import DEADLINE
from .notify_world import SECRET, change, notification, soon


@given(tries=st.integers(1, 10_000), chance=st.floats(0, 1))
def test_waits_double_up_to_the_cap_and_half_of_each_is_chance(tries: int, chance: float) -> None:
    wait = Backoff(2.0, 900.0).seconds(tries, lambda: chance)
    full = min(900.0, 2.0 * 2 ** min(tries - 1, 20))
    assert full / 2 <= wait <= full


def test_by_the_defaults_the_last_try_is_hours_after_the_first() -> None:
    settings = SmtpSettings()
    waits = [settings.waits().seconds(n, lambda: 0.5) for n in range(1, settings.tries)]
    assert 2 * 3600 < sum(waits) < 4 * 3600


def named(name: str, target: str = "one@example.com", **fields: Any) -> Notification:
    return notification(change(alert_id=name), target=target, **fields)


def line(limit: int = 100, together: int = 10) -> Line:
    return Line(limit, together, soon)


async def taken(waiting: Line) -> list[str]:
    async with asyncio.timeout(DEADLINE):
        return [one.alert.alert_id for one in await waiting.take()]


async def test_what_is_due_takes_along_what_is_new_for_the_same_target() -> None:
    waiting = line()
    waiting.put(named("due", due_at=soon(-1)))
    waiting.put(named("new", due_at=soon(60)))
    waiting.put(named("tried", due_at=soon(60), tries=1))
    waiting.put(named("other", target="two@example.com", due_at=soon(-0.5)))
    assert await taken(waiting) == ["due", "new"]
    assert await taken(waiting) == ["other"]
    assert len(waiting) == 4


async def test_nothing_is_taken_before_it_is_due() -> None:
    waiting = line(together=1)
    waiting.put(named("later", due_at=soon(0.3)))
    before = soon()
    assert await taken(waiting) == ["later"]
    assert soon() - before > timedelta(seconds=0.2)


async def test_an_earlier_one_that_comes_later_is_taken_first() -> None:
    waiting = line(together=1)
    waiting.put(named("later", due_at=soon(60)))
    first = asyncio.create_task(taken(waiting))
    await asyncio.sleep(0)
    waiting.put(named("now", due_at=soon(-1)))
    assert await first == ["now"]


async def test_a_line_is_bounded_and_holds_everything_once() -> None:
    waiting = line(limit=2)
    assert waiting.put(named("a", due_at=soon(-1)))
    assert waiting.put(named("a", due_at=soon(-1)))
    assert waiting.put(named("b", due_at=soon(60), tries=1))
    assert not waiting.put(named("c"))
    group = await waiting.take()
    assert not waiting.put(named("c")), "what is being sent takes room too"
    assert waiting.put(group[0])
    assert len(waiting) == 2
    waiting.done(group)
    assert waiting.put(named("c"))


async def test_what_is_to_be_sent_again_waits_for_its_time() -> None:
    waiting = line()
    waiting.put(named("a", due_at=soon(-1)))
    (one,) = await waiting.take()
    later: datetime = soon(0.2)
    waiting.done([one], [named("a", due_at=later, tries=1)])
    assert await taken(waiting) == ["a"]
    assert soon() >= later


async def test_draining_ends_when_nothing_is_due_and_leaves_what_is_tried_later() -> None:
    waiting = line()
    waiting.put(named("new", due_at=soon(3600)))
    waiting.put(named("tried", due_at=soon(3600), tries=1))
    draining = asyncio.create_task(waiting.drain())
    assert await taken(waiting) == ["new"]
    assert not draining.done()
    waiting.done([named("new")])
    await asyncio.wait_for(draining, DEADLINE)
    assert len(waiting) == 1


def test_a_signature_is_that_of_standard_webhooks() -> None:
    """By the specification's own example: secret, id, timestamp, body and signature."""
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    body = b'{"test": 2432232314}'
    headers = signature.headers(
        [signature.key_of(secret)], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_while_secrets_are_exchanged_either_of_them_knows_the_delivery() -> None:
    keys = [b"k" * 24, b"l" * 32]
    headers = signature.headers(keys, "id", 1, b"{}")
    signatures = headers["webhook-signature"].split(" ")
    for key, given_signature in zip(keys, signatures, strict=True):
        expected = hmac.new(key, b"id.1.{}", hashlib.sha256).digest()
        assert given_signature == f"v1,{base64.b64encode(expected).decode()}"


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "short",
        SECRET.removeprefix("whsec_"),
        "whsec_",
        "whsec_!!!",
        "whsec_" + base64.b64encode(b"x" * 23).decode(),
        "whsec_" + base64.b64encode(b"x" * 65).decode(),
    ],
)
def test_a_secret_that_is_none_is_refused_and_not_shown(secret: str) -> None:
    with pytest.raises(ValidationError) as caught:
        WebhookSettings.model_validate({"secrets": {"ops": secret}})
    if secret.removeprefix("whsec_"):
        assert secret not in str(caught.value.errors(include_input=False))


@pytest.mark.parametrize(
    "text",
    [
        f'{{"ops": "{SECRET}", "other": ["{SECRET}", "{SECRET}"]}}',
        f"ops: {SECRET}\nother: [{SECRET}, {SECRET}]\n",
    ],
    ids=["JSON", "YAML"],
)
def test_secrets_come_as_one_text_and_are_never_printed(text: str) -> None:
    settings = WebhookSettings.model_validate({"secrets": text})
    assert [len(settings.secrets[name]) for name in ("ops", "other")] == [1, 2]
    assert SECRET not in repr(settings)


def test_what_is_no_mapping_of_secrets_is_refused() -> None:
    for wrong in ("just words", "[1, 2]", "{"):
        with pytest.raises(ValidationError):
            WebhookSettings.model_validate({"secrets": wrong})
