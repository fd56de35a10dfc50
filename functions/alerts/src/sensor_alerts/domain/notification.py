"""What people are told of a change, and how far that has come."""

import hashlib
from datetime import datetime
from enum import StrEnum
from typing import Final

import msgspec

from sensor_shared.contracts.alert_changes import AlertChange, AlertSnapshot, ChangeKind
from sensor_shared.contracts.rules import Severity

_RANKS: Final = {severity: rank for rank, severity in enumerate(Severity, start=1)}


class ChannelName(StrEnum):
    """The channels; names as in routes, records and metrics."""

    EMAIL = "email"
    WEBHOOK = "webhook"
    MQTT = "mqtt"


class News(StrEnum):
    """What of a change people are told."""

    RAISED = "raised"
    ESCALATED = "escalated"
    """An open alert got worse."""
    REOPENED = "reopened"
    ACKNOWLEDGED = "acknowledged"
    CLEARED = "cleared"

    @property
    def opens(self) -> bool:
        """Whether it asks for somebody; the others only follow what was told before."""
        return self in (News.RAISED, News.ESCALATED, News.REOPENED)


def news_of(change: AlertChange) -> News | None:
    """Returns what people are told of a change; None: it is for the record only."""
    if change.kind is ChangeKind.UPDATED:
        before = change.severity_before
        worse = before is not None and _RANKS[change.alert.severity] > _RANKS[before]
        return News.ESCALATED if worse else None
    if change.kind is ChangeKind.COMMENTED:
        return None
    return News(change.kind.value)


class State(StrEnum):
    """How far it has come."""

    QUEUED = "queued"
    SENT = "sent"
    FAILED = "failed"
    """Given up: a dead letter, until somebody puts it back."""
    SUPPRESSED = "suppressed"


class Notification(msgspec.Struct, frozen=True, kw_only=True):
    """What one target is told of one change, as it is recorded.

    Attributes:
        target: address, name of an endpoint, or topic.
        reason: why it is held back, or what the last try met with.
        tries: that were made, the good one included.
        due_at: not to be sent before.
        version: of what is recorded; a higher one replaces a lower one.
    """

    notification_id: str
    change: AlertChange
    news: News
    channel: ChannelName
    target: str
    state: State
    reason: str = ""
    tries: int = 0
    due_at: datetime
    updated_at: datetime
    version: int = 1

    @property
    def alert(self) -> AlertSnapshot:
        """The alert as it was after the change."""
        return self.change.alert


def notification_id(change_id: str, channel: ChannelName, target: str) -> str:
    """Returns 32 hex digits; whoever tells the same target of the same change gives the same."""
    about = f"{change_id}\0{channel}\0{target}"
    return hashlib.blake2b(about.encode(), digest_size=16).hexdigest()


def rank(severity: Severity) -> int:
    """Returns 1 for LOW to 4 for CRITICAL."""
    return _RANKS[severity]
