"""What mails say, when they go out, and what becomes of them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from typing import Any

import msgspec
import pytest
from aiosmtpd.smtp import SMTP

from sensor_alerts.mail.letter import Letters
from sensor_alerts.mail.post import Post
from sensor_alerts.mail.queue import MailQueue
from sensor_alerts.settings import SmtpSettings
from sensor_shared.contracts.alert_changes import AlertSnapshot
from sensor_shared.contracts.rules import Severity

from .alert_world import DEADLINE, NOW, alert

LETTERS = Letters("alerts@example.com", ["one@example.com", "two@example.com"])
SETTINGS = SmtpSettings(
    security="none", recipients=("one@example.com",), collect=0.0, backoff=0.001, digest_over=3
)
EVIL = "x</td><script>alert(1)</script>\r\nBcc: everyone@example.com\r\n\r\nother body\x1b[2J"


def parts(mail: EmailMessage) -> tuple[str, str]:
    """Returns text and HTML as a mail program gets them, after a way over the wire."""
    received = BytesParser(policy=policy.default).parsebytes(mail.as_bytes(policy=policy.SMTP))
    text, html = received.get_body(("plain",)), received.get_body(("html",))
    assert text is not None
    assert html is not None
    return text.get_content(), html.get_content()


def test_a_mail_says_how_bad_what_and_where() -> None:
    mail = LETTERS.single(alert(value=111.5), NOW)
    assert mail["Subject"] == "[CRITICAL] industrial_sensor_000007: temperature high"
    assert mail["To"] == "one@example.com, two@example.com"
    assert mail["Auto-Submitted"] == "auto-generated"
    for content in parts(mail):
        for said in ("CRITICAL", "industrial_sensor_000007", "111.5 °C", "90 °C", "west"):
            assert said in content
        assert "2026-11-23T12:00:00.000Z" in content


def test_an_alert_without_a_value_has_a_mail_too() -> None:
    text, _ = parts(LETTERS.single(alert(value=None, threshold=None, metric=None), NOW))
    assert "Measured:   -" in text


@pytest.mark.parametrize("field", ["message", "device_id", "region", "alert_id"])
@pytest.mark.parametrize("many", [False, True], ids=["single", "digest"])
def test_nothing_in_an_alert_can_add_a_header_or_markup(field: str, many: bool) -> None:
    """Also what validation keeps out before: a mail must not depend on it."""
    evil: AlertSnapshot = msgspec.structs.replace(alert(), **{field: EVIL})
    mail = LETTERS.digest([evil, alert()], NOW) if many else LETTERS.single(evil, NOW)
    received = BytesParser(policy=policy.default).parsebytes(mail.as_bytes(policy=policy.SMTP))
    assert received["Bcc"] is None
    assert "\n" not in received["Subject"]
    text, html = parts(mail)
    assert "<script>" not in html
    assert "\x1b" not in html + text


def test_a_digest_names_the_worst_first_and_is_bounded() -> None:
    many = [
        msgspec.structs.replace(alert(), alert_id=str(n), device_id=f"d{n:03d}") for n in range(250)
    ]
    many[123] = msgspec.structs.replace(many[123], severity=Severity.CRITICAL)
    mail = LETTERS.digest(many, NOW)
    assert mail["Subject"] == "[CRITICAL] 250 alerts on 250 devices, worst: d123"
    text, html = parts(mail)
    assert "50 more" in text
    assert html.count("<tr>") == 200


class Office:
    """Stands for the mail server: takes or refuses, and can be held up."""

    def __init__(self, *, takes: bool = True):
        self.takes = takes
        self.subjects: list[str] = []
        self.told: list[str] = []
        self.asked = asyncio.Event()
        self.open = asyncio.Event()
        self.open.set()

    async def deliver(self, mail: EmailMessage) -> bool:
        self.asked.set()
        await self.open.wait()
        self.subjects.append(str(mail["Subject"]))
        return self.takes

    async def sent(self, about: AlertSnapshot) -> None:
        self.told.append(about.alert_id)


def named(name: str, **changes: Any) -> AlertSnapshot:
    changed: AlertSnapshot = msgspec.structs.replace(
        alert(), alert_id=name, device_id=name, **changes
    )
    return changed


async def test_what_gathers_while_a_mail_is_under_way_becomes_a_digest() -> None:
    office = Office()
    queue = MailQueue(SETTINGS, office.deliver)
    queue.start(office.sent)
    office.open.clear()
    queue.submit(named("first"))
    await asyncio.wait_for(office.asked.wait(), DEADLINE)
    for n in range(5):
        queue.submit(named(f"later-{n}"))
    office.open.set()
    await queue.stop()
    assert len(office.subjects) == 2
    assert "5 alerts" in office.subjects[1]
    assert sorted(office.told) == ["first", *(f"later-{n}" for n in range(5))]


async def test_few_alerts_have_a_mail_each_and_the_newest_state_is_told() -> None:
    office = Office()
    queue = MailQueue(SETTINGS.model_copy(update={"collect": 5.0}), office.deliver)
    queue.start(office.sent)
    queue.submit(named("a"))
    queue.submit(named("b"))
    queue.submit(named("a", severity=Severity.CRITICAL, version=2))
    await queue.stop()
    assert sorted(office.subjects) == [
        "[CRITICAL] a: temperature high",
        "[MEDIUM] b: temperature high",
    ]


async def test_a_mail_that_is_given_up_is_not_marked_as_sent() -> None:
    office = Office(takes=False)
    queue = MailQueue(SETTINGS, office.deliver)
    queue.start(office.sent)
    queue.submit(named("a"))
    await queue.stop()
    assert office.subjects
    assert office.told == []


async def test_a_full_queue_lets_alerts_go_without_waiting() -> None:
    office = Office()
    queue = MailQueue(SETTINGS.model_copy(update={"queue": 2}), office.deliver)
    queue.start(office.sent)
    office.open.clear()
    queue.submit(named("first"))
    await asyncio.wait_for(office.asked.wait(), DEADLINE)
    for n in range(5):
        queue.submit(named(f"later-{n}"))
    office.open.set()
    await queue.stop()
    assert office.told == ["first", "later-0", "later-1"]


async def test_without_recipients_nothing_is_queued() -> None:
    office = Office()
    queue = MailQueue(SETTINGS.model_copy(update={"recipients": ()}), office.deliver)
    queue.start(office.sent)
    queue.submit(named("a"))
    await queue.stop()
    assert office.subjects == []


class Answers:
    """A mail server's answers to DATA, one after the other; the last one stays."""

    def __init__(self, *answers: str):
        self.answers = list(answers)
        self.asked = 0

    async def handle_DATA(self, *_: object) -> str:  # noqa: N802  (aiosmtpd's name)
        self.asked += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Any]]:
    servers = []

    async def start(answers: Answers) -> Post:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: SMTP(answers), "127.0.0.1", 0)
        servers.append(server)
        port = server.sockets[0].getsockname()[1]
        return Post(SETTINGS.model_copy(update={"host": "127.0.0.1", "port": port}))

    yield start
    for server in servers:
        server.close()


@pytest.mark.parametrize(
    ("answers", "taken", "asked"),
    [
        (["250 OK"], True, 1),
        (["451 later", "451 later", "250 OK"], True, 3),
        (["451 later"], False, 3),
        (["554 never"], False, 1),
    ],
    ids=["at once", "third try", "tries used up", "refused for good"],
)
async def test_a_mail_is_tried_again_unless_it_is_refused_for_good(
    serve: Callable[..., Any], answers: list[str], taken: bool, asked: int
) -> None:
    server = Answers(*answers)
    post: Post = await serve(server)
    assert await post.deliver(LETTERS.single(alert(), NOW)) is taken
    assert server.asked == asked


async def test_a_mail_server_that_is_down_is_given_up_after_the_tries() -> None:
    post = Post(SETTINGS.model_copy(update={"host": "127.0.0.1", "port": 9}))
    assert await post.deliver(LETTERS.single(alert(), NOW)) is False
