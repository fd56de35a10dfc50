"""Which breaches are the same alert: the open alerts in Redis, one per device and rule.

Redis is the index that all replicas share, each step one script. What it holds can be rebuilt:
an alert that it does not know is looked for in the history before a new one is opened.
Keys hold the device in braces, so that a script's keys lie on one node of a Redis cluster.
"""

from collections.abc import Awaitable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, cast

import msgspec
from redis.asyncio import Redis

from sensor_alerts.domain.alert import Alert, rank, severity_of
from sensor_alerts.scripts import script

# Changes that were on their way to the history when Redis lost its state may be newer than
# what the history gave back; the versions from here on must be higher than theirs.
_REBUILT_VERSIONS: Final = 1_000


class Outcome(StrEnum):
    """What a breach is to the open alerts."""

    ABSENT = "absent"
    """No alert is open that it belongs to, and none was to be opened."""
    OPENED = "opened"
    JOINED = "joined"
    REPEATED = "repeated"
    """It was added before."""
    LATE = "late"
    """It is older than the open alert and does not belong to it."""


@dataclass(frozen=True, slots=True)
class Episode:
    """An open alert.

    Attributes:
        alert: in its newest state.
        stored: rank of the severity that the history has; 0: nothing yet.
        notified: rank of the severity that people were told of; 0: none.
    """

    alert: Alert
    stored: int
    notified: int


class Episodes:
    """The open alerts.

    All methods raise `redis.exceptions.RedisError` when Redis is away.

    Args:
        redis: shared by all replicas.
        window_ms: how long after its last breach an alert is still open.
        prefix: of all keys.
    """

    def __init__(self, redis: Redis, window_ms: int, prefix: str = "alerts"):
        self._window_ms = window_ms
        self._prefix = prefix
        self._touch = redis.register_script(script("touch"))
        self._mark = redis.register_script(script("mark"))

    async def touch(
        self, breach: Alert, opening: Episode | None = None
    ) -> tuple[Outcome, Episode | None]:
        """Adds a breach to the open alert that it belongs to.

        Args:
            breach: as the alert that it would open.
            opening: the alert to open when none is: `breach` itself or one from the history.

        Returns:
            What happened, and the alert; None with it when ABSENT or LATE.
        """
        fields = [] if opening is None else _fields(opening)
        answer = await self._touch(
            keys=[self._key(breach), self._key(breach) + f":{breach.alert_id}"],
            args=[
                breach.alert_id,
                breach.timestamp_ms,
                rank(breach.severity),
                _number(breach.value),
                breach.message,
                self._window_ms,
                *fields,
            ],
        )
        return Outcome(_text(answer[0])), _episode(answer)

    async def note_stored(self, alert: Alert) -> None:
        """Notes that the history has the alert with its severity."""
        await self._note(alert, "stored", rank(alert.severity))

    async def note_notified(self, alert: Alert) -> None:
        """Notes that people were told of the alert with its severity."""
        await self._note(alert, "notified", rank(alert.severity))

    async def note_emailed(self, alert: Alert) -> Alert | None:
        """Notes that the mail server took the mail.

        Returns:
            The alert as it is to be recorded now; None when it is open no more.
        """
        episode = await self._note(alert, "emailed", 1, changes=True)
        return None if episode is None else episode.alert

    async def _note(
        self, alert: Alert, field: str, value: int, *, changes: bool = False
    ) -> Episode | None:
        call = self._mark(
            keys=[self._key(alert)], args=[alert.alert_id, field, value, int(changes)]
        )
        return _episode(await cast("Awaitable[list[Any]]", call))

    def _key(self, alert: Alert) -> str:
        return f"{self._prefix}:{{{alert.device_id}}}:open:{alert.episode}"


def rebuilt(alert: Alert) -> Episode:
    """Returns the episode of an alert that the history has."""
    severity = rank(alert.severity)
    raised = msgspec.structs.replace(alert, version=alert.version + _REBUILT_VERSIONS)
    return Episode(raised, stored=severity, notified=severity if alert.email_sent else 0)


def _fields(episode: Episode) -> list[str | int | bytes]:
    alert = episode.alert
    return [
        *("about", msgspec.json.encode(alert)),
        *("alert_id", alert.alert_id, "first_ms", alert.timestamp_ms),
        *("last_ms", alert.last_ms, "value", _number(alert.value)),
        *("severity", rank(alert.severity), "message", alert.message),
        *("count", alert.count, "version", alert.version, "emailed", int(alert.email_sent)),
        *("stored", episode.stored, "notified", episode.notified),
    ]


def _episode(answer: list[Any]) -> Episode | None:
    if len(answer) < 2:
        return None
    about, last_ms, value, severity, message, count, version, emailed, stored, notified = answer[1:]
    alert = msgspec.structs.replace(
        msgspec.json.decode(about, type=Alert),
        last_ms=int(last_ms),
        value=float(value) if value else None,
        severity=severity_of(int(severity)),
        message=_text(message),
        count=int(count),
        version=int(version),
        email_sent=int(emailed) == 1,
    )
    return Episode(alert, int(stored), int(notified))


def _number(value: float | None) -> str:
    return "" if value is None else repr(value)


def _text(answer: bytes | str) -> str:
    return answer.decode() if isinstance(answer, bytes) else answer
