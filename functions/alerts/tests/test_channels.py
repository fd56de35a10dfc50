"""The channels, each against a real server: mail with TLS and login, endpoints, the broker."""

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
from aiohttp import web
from pydantic import SecretStr

from sensor_alerts.domain.notification import ChannelName
from sensor_alerts.notify.channel import NotDeliveredError
from sensor_alerts.notify.mail.letter import Letters
from sensor_alerts.notify.mail.post import Post
from sensor_alerts.notify.mqtt import Mqtt
from sensor_alerts.notify.routes import Endpoint, RoutesError
from sensor_alerts.notify.settings import AlertMqttSettings, SmtpSettings, WebhookSettings
from sensor_alerts.notify.webhook import signature
from sensor_alerts.notify.webhook.channel import Webhook
from sensor_local.testing import Address
from sensor_shared.testing.authority import Authority

from .alert_world import DEADLINE
from .notify_world import (
    SECRET,
    Mailroom,
    Receiver,
    change,
    mail_server,
    notification,
    receiving,
)

NOWHERE = 9  # the discard port: nobody listens there
ONE = notification()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    (tmp_path / "ours").mkdir()
    return Authority(tmp_path / "ours")


def post(port: int, **fields: Any) -> Post:
    settings = SmtpSettings.model_validate(
        {"host": "127.0.0.1", "port": port, "security": "none", "sender": "alerts@example.com"}
        | fields
    )
    return Post(settings, Letters(settings.sender))


async def refusal(channel: Post | Webhook | Mqtt, target: str = "one@example.com") -> Any:
    with pytest.raises(NotDeliveredError) as caught:
        await channel.deliver(target, [ONE])
    return caught.value


def secured(
    room: Mailroom, security: str, context: ssl.SSLContext
) -> contextlib.AbstractAsyncContextManager[int]:
    """Serves SMTP with TLS from the first byte on, or after STARTTLS."""
    if security == "tls":
        return mail_server(room, tls=context)
    return mail_server(room, starttls=context)


LOGIN = {"username": "alerts", "password": "the right one"}


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_a_mail_goes_by_tls_and_login_to_a_server_that_is_known(
    authority: Authority, security: str
) -> None:
    room, context = Mailroom(), authority.server("127.0.0.1")
    async with secured(room, security, context) as port:
        await post(port, security=security, ca_cert=authority.ca, **LOGIN).deliver(
            "one@example.com", [ONE]
        )
    assert room.tls == [True]
    assert room.subjects == ["[MEDIUM] industrial_sensor_000007: temperature high"]


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_no_mail_and_no_password_go_to_a_server_that_is_not_known(
    authority: Authority, security: str
) -> None:
    """Neither to one with a certificate of nobody known, nor to one of another name."""
    room = Mailroom()
    async with secured(room, security, authority.server("127.0.0.1")) as port:
        assert not (await refusal(post(port, security=security, **LOGIN))).final
    async with secured(room, security, authority.server("127.0.0.2")) as port:
        known = post(port, security=security, ca_cert=authority.ca, **LOGIN)
        assert not (await refusal(known)).final
    assert room.asked == 0


async def test_a_server_that_offers_no_tls_gets_no_mail() -> None:
    room = Mailroom()
    async with mail_server(room) as port:
        assert not (await refusal(post(port, security="starttls", **LOGIN))).final
    assert room.asked == 0


async def test_a_wrong_password_is_tried_again_later(authority: Authority) -> None:
    """It is this service's settings that are wrong: putting them right must lose no mail."""
    room = Mailroom()
    async with mail_server(room, tls=authority.server("127.0.0.1")) as port:
        wrong = post(port, security="tls", ca_cert=authority.ca, username="alerts", password="no")
        error = await refusal(wrong)
    assert not error.final
    assert "535" in str(error) or "Authentication" in str(error)


@pytest.mark.parametrize(("answer", "final"), [("451 later", False), ("554 never", True)])
async def test_a_server_that_refuses_says_whether_for_good(answer: str, final: bool) -> None:
    async with mail_server(Mailroom(answer)) as port:
        error = await refusal(post(port))
    assert error.final is final
    assert answer.split()[1] in str(error)


async def test_a_mail_server_that_is_down_or_silent_is_tried_again_later() -> None:
    assert not (await refusal(post(NOWHERE))).final
    async with mail_server(Mailroom(hold=True)) as port:
        assert not (await refusal(post(port, timeout=0.3))).final


async def test_many_alerts_are_one_mail() -> None:
    room = Mailroom()
    many = [notification(change(alert_id=f"a{n}", device_id=f"d{n}")) for n in range(5)]
    async with mail_server(room) as port:
        await post(port).deliver("one@example.com", many)
    (mail,) = room.mails
    assert mail["Subject"] == "[MEDIUM] 5 alerts on 5 devices, worst: d0"


TO_OPS = notification(channel=ChannelName.WEBHOOK, target="ops")


@contextlib.asynccontextmanager
async def webhook(url: str, **fields: Any) -> AsyncIterator[Webhook]:
    settings = WebhookSettings.model_validate(
        {"secrets": {"ops": SECRET}, "deadline": DEADLINE} | fields
    )
    channel = Webhook(settings, [Endpoint(name="ops", url=url, plain_http=True)])
    await channel.open()
    try:
        yield channel
    finally:
        await channel.close()


async def posted(receiver: Receiver, **fields: Any) -> NotDeliveredError | None:
    """Posts one notification; returns the refusal, if it is one."""
    async with webhook(receiver.url, **fields) as channel:
        try:
            await channel.deliver("ops", [TO_OPS])
        except NotDeliveredError as error:
            return error
    return None


async def test_an_endpoint_gets_the_change_signed_with_its_secret() -> None:
    async with receiving() as receiver:
        assert await posted(receiver) is None
    (one,) = receiver.posted
    assert one.headers["content-type"] == "application/json"
    document = one.document
    assert document["type"] == "com.twinup.alert.changed.v1"
    assert document["id"] == one.headers["webhook-id"] == TO_OPS.notification_id
    assert document["news"] == "raised"
    assert document["data"]["alert"]["device_id"] == "industrial_sensor_000007"
    timestamp = int(one.headers["webhook-timestamp"])
    expected = signature.headers(
        [signature.key_of(SECRET)], TO_OPS.notification_id, timestamp, one.body
    )
    assert one.headers["webhook-signature"] == expected["webhook-signature"]


@pytest.mark.parametrize(
    ("status", "final"),
    [
        (400, True), (401, True), (404, True), (410, True), (408, False), (425, False),
        (429, False), (500, False), (503, False),
    ],
)  # fmt: skip
async def test_an_answer_says_whether_a_further_try_makes_sense(status: int, final: bool) -> None:
    async with receiving() as receiver:
        receiver.says(status, text="not today")
        error = await posted(receiver)
    assert error is not None
    assert error.final is final
    assert str(error) == f"{status}: not today"


async def test_an_endpoint_that_asks_for_patience_gets_it() -> None:
    async with receiving() as receiver:
        receiver.says(429, headers={"Retry-After": "120"})
        error = await posted(receiver)
        assert error is not None
        assert error.after == 120
        receiver.says(429, headers={"Retry-After": "Wed, 21 Oct 2099 07:28:00 GMT"})
        error = await posted(receiver)
        assert error is not None
        assert error.after == 0


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_no_redirect_is_followed(status: int) -> None:
    async with receiving() as elsewhere, receiving() as receiver:
        receiver.says(status, headers={"Location": elsewhere.url})
        error = await posted(receiver)
    assert error is not None
    assert not error.final
    assert elsewhere.posted == []


async def test_of_an_endless_answer_only_the_beginning_is_read() -> None:
    async def endless() -> web.StreamResponse:
        return web.Response(status=500, body=b"x" * 50_000_000)

    async with receiving() as receiver:
        receiver.answer = endless
        error = await posted(receiver)
    assert error is not None
    assert len(str(error)) < 300


async def test_an_endpoint_that_is_dead_or_never_answers_is_tried_again_later() -> None:
    async def never() -> web.StreamResponse:
        await asyncio.sleep(3600)
        raise AssertionError

    async with receiving() as receiver:
        receiver.answer = never
        error = await posted(receiver, deadline=0.3)
        assert error is not None
        assert not error.final
    async with webhook(f"http://127.0.0.1:{NOWHERE}/") as channel:
        assert not (await refusal(channel, "ops")).final


async def test_an_endpoint_must_show_a_certificate_that_is_known(authority: Authority) -> None:
    async with receiving(authority.server("127.0.0.1")) as receiver:
        error = await posted(receiver)
        assert error is not None
        assert not error.final
        assert receiver.posted == []
        assert await posted(receiver, ca_cert=authority.ca) is None
    async with receiving(authority.server("127.0.0.2")) as receiver:
        assert await posted(receiver, ca_cert=authority.ca) is not None
        assert receiver.posted == []


def test_an_endpoint_without_a_secret_is_a_mistake_at_the_start() -> None:
    with pytest.raises(RoutesError, match="ops"):
        Webhook(WebhookSettings(), [Endpoint(name="ops", url="https://hooks.example.com")])


async def test_an_endpoint_that_the_routes_no_longer_have_is_a_dead_letter() -> None:
    async with webhook("http://127.0.0.1:9/") as channel:
        assert (await refusal(channel, "gone")).final


@contextlib.asynccontextmanager
async def broker(address: Address, **fields: Any) -> AsyncIterator[Mqtt]:
    settings = AlertMqttSettings.model_validate(
        {"host": address.host, "port": address.port} | fields
    )
    channel = Mqtt(settings)
    await channel.open()
    try:
        yield channel
    finally:
        await channel.close()


@pytest.mark.integration
async def test_who_subscribed_to_a_device_gets_its_changes_and_none_is_retained(
    mqtt_broker: Address,
) -> None:
    topic = f"alerts/device/{ONE.alert.device_id}"
    async with (
        broker(mqtt_broker) as channel,
        aiomqtt.Client(mqtt_broker.host, mqtt_broker.port) as reader,
    ):
        await reader.subscribe("alerts/device/#", qos=1)
        async with asyncio.timeout(DEADLINE):
            await channel.deliver(topic, [ONE])
            message = await anext(aiter(reader.messages))
    assert str(message.topic) == topic
    assert message.qos == 1
    assert not message.retain
    assert json.loads(bytes(message.payload))["id"] == ONE.notification_id
    async with aiomqtt.Client(mqtt_broker.host, mqtt_broker.port) as late:
        await late.subscribe(topic, qos=1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await anext(aiter(late.messages))


@pytest.mark.integration
async def test_while_the_broker_is_away_a_message_is_not_taken_and_taken_back() -> None:
    """Nobody is told later of what its sender no longer waits for: it comes again by itself."""
    async with broker(Address("127.0.0.1", NOWHERE)) as channel:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await channel.deliver("alerts/device/a", [ONE])
    async with broker(Address("127.0.0.1", NOWHERE), queue=1) as channel:
        first = asyncio.create_task(channel.deliver("alerts/device/a", [ONE]))
        await asyncio.sleep(0)
        second = asyncio.create_task(channel.deliver("alerts/device/b", [ONE]))
        with pytest.raises(NotDeliveredError, match="too many"):
            await first
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)


def test_a_login_without_tls_is_refused() -> None:
    with pytest.raises(ValueError, match="starttls or tls"):
        SmtpSettings(username="me", password=SecretStr("word"), security="none")
