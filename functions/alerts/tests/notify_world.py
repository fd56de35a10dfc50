"""What notifications are tested on: changes, and real servers that can be slow, dead or rude."""

import asyncio
import base64
import ssl
import uuid
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from typing import Any

import msgspec
from aiohttp import web
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from sensor_alerts.domain.notification import (
    ChannelName,
    News,
    Notification,
    State,
    news_of,
    notification_id,
)
from sensor_shared.contracts.alert_changes import (
    SYSTEM,
    AlertChange,
    AlertSnapshot,
    AlertState,
    ChangeKind,
    change_id,
)
from sensor_shared.contracts.rules import AlertType, Severity

AT = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
SNAPSHOT = AlertSnapshot(
    alert_id="first",
    device_id="industrial_sensor_000007",
    rule_id="temperature-high",
    alert_type=AlertType.TEMPERATURE_HIGH,
    severity=Severity.MEDIUM,
    message="industrial_sensor_000007: temperature 96 °C breaks the limit of 90 °C",
    metric="temperature",
    value=96.0,
    threshold=90.0,
    region="west",
    device_type="industrial",
    first_at=AT,
    last_at=AT,
)
SECRET = "whsec_" + base64.b64encode(b"a secret of the tests, 32 bytes.").decode()


def change(
    kind: ChangeKind = ChangeKind.RAISED,
    *,
    at: datetime | None = None,
    before: Severity | None = None,
    note: str = "",
    **alert: Any,
) -> AlertChange:
    """Returns a change of an alert with some of its fields changed."""
    snapshot = msgspec.structs.replace(SNAPSHOT, **alert)
    return AlertChange(
        change_id=change_id(snapshot.alert_id, snapshot.version),
        kind=kind,
        at=at or AT,
        by=SYSTEM,
        note=note,
        severity_before=before,
        alert=snapshot,
    )


def life(device_id: str, severity: Severity = Severity.MEDIUM) -> "Life":
    """Returns the life of a new alert of a device."""
    return Life(device_id, severity, uuid.uuid4().hex)


@dataclass
class Life:
    """One alert's changes, one after the other, made now."""

    device_id: str
    severity: Severity
    alert_id: str
    version: int = 0
    fields: dict[str, Any] = field(default_factory=dict)

    def _next(self, kind: ChangeKind, before: Severity | None = None, **alert: Any) -> AlertChange:
        self.version += 1
        return change(
            kind,
            at=datetime.now(UTC),
            before=before,
            alert_id=self.alert_id,
            device_id=self.device_id,
            severity=self.severity,
            version=self.version,
            **self.fields | alert,
        )

    def raised(self) -> AlertChange:
        return self._next(ChangeKind.RAISED)

    def updated(self, severity: Severity) -> AlertChange:
        before, self.severity = self.severity, severity
        return self._next(ChangeKind.UPDATED, before)

    def acknowledged(self) -> AlertChange:
        return self._next(ChangeKind.ACKNOWLEDGED, self.severity, acknowledged_by="ayse")

    def cleared(self) -> AlertChange:
        return self._next(
            ChangeKind.CLEARED, self.severity, state=AlertState.CLEARED, cleared_by=SYSTEM
        )


def notification(
    about: AlertChange | None = None,
    *,
    channel: ChannelName = ChannelName.EMAIL,
    target: str = "one@example.com",
    **fields: Any,
) -> Notification:
    """Returns a notification that is queued and due."""
    about = about or change()
    values: dict[str, Any] = {
        "notification_id": notification_id(about.change_id, channel, target),
        "change": about,
        "news": news_of(about) or News.RAISED,
        "channel": channel,
        "target": target,
        "state": State.QUEUED,
        "due_at": about.at,
        "updated_at": about.at,
    }
    return Notification(**values | fields)


def read(mail: bytes) -> EmailMessage:
    """Returns a mail as a mail program gets it."""
    return BytesParser(policy=policy.default).parsebytes(mail)


class Mailroom:
    """What a mail server does with each mail: answers one after the other; the last one stays."""

    def __init__(self, *answers: str, hold: bool = False):
        self.answers = list(answers) or ["250 OK"]
        self.mails: list[EmailMessage] = []
        self.tls: list[bool] = []
        self.asked = 0
        self.open = asyncio.Event()
        if not hold:
            self.open.set()

    async def handle_DATA(self, server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802  (aiosmtpd's name)
        self.asked += 1
        await self.open.wait()
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer.startswith("2"):
            self.mails.append(read(envelope.original_content or b""))
            assert server.transport is not None
            self.tls.append(server.transport.get_extra_info("sslcontext") is not None)
        return answer

    @property
    def subjects(self) -> list[str]:
        return [str(mail["Subject"]) for mail in self.mails]


def _only_us(
    _server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, data: LoginPassword
) -> AuthResult:
    known = data.login == b"alerts" and data.password == b"the right one"
    return AuthResult(success=known, handled=known)


@asynccontextmanager
async def mail_server(
    room: Mailroom,
    *,
    starttls: ssl.SSLContext | None = None,
    tls: ssl.SSLContext | None = None,
    port: int = 0,
) -> AsyncIterator[int]:
    """Serves SMTP and yields its port; with TLS it wants a login."""
    secured = starttls is not None or tls is not None

    def conversation() -> SMTP:
        with warnings.catch_warnings():
            # A login without STARTTLS: it does not know of the TLS around all of it.
            warnings.simplefilter("ignore", UserWarning)
            return SMTP(
                room,
                tls_context=starttls,
                require_starttls=starttls is not None,
                authenticator=_only_us if secured else None,
                auth_required=secured,
                auth_require_tls=starttls is not None,
            )

    server = await asyncio.get_running_loop().create_server(
        conversation, "127.0.0.1", port, ssl=tls
    )
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        room.open.set()
        server.close()


@dataclass
class Posted:
    """One request that a receiver got."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return msgspec.json.decode(self.body)


Answer = Callable[[], Awaitable[web.StreamResponse]]


class Receiver:
    """An endpoint that keeps what it gets; `answer` says how it answers."""

    def __init__(self) -> None:
        self.posted: list[Posted] = []
        self.answer: Answer = self._taken
        self.url = ""

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.posted.append(Posted(request.path, headers, await request.read()))
        return await self.answer()

    async def _taken(self) -> web.StreamResponse:
        return web.Response(status=204)

    def says(self, status: int, **answer: Any) -> None:
        async def fixed() -> web.StreamResponse:
            return web.Response(status=status, **answer)

        self.answer = fixed

    @property
    def ids(self) -> list[str]:
        return [one.headers["webhook-id"] for one in self.posted]


@asynccontextmanager
async def receiving(tls: ssl.SSLContext | None = None, port: int = 0) -> AsyncIterator[Receiver]:
    """Serves a receiver; its `url` is where."""
    receiver = Receiver()
    server = web.Server(receiver.handle)
    runner = web.ServerRunner(server, handle_signals=False, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls)
    await site.start()
    assert site._server is not None
    bound = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    receiver.url = f"{'https' if tls else 'http'}://127.0.0.1:{bound}/alerts"
    try:
        yield receiver
    finally:
        await runner.cleanup()


def soon(seconds: float = 0.0) -> datetime:
    """Returns a moment from now."""
    return datetime.now(UTC) + timedelta(seconds=seconds)
