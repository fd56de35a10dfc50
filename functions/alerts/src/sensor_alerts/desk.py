"""What people do with alerts: acknowledge, clear, comment, and look them up."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sensor_alerts.changes import Changes
from sensor_alerts.domain import life
from sensor_alerts.domain.alert import Record, from_ms
from sensor_alerts.domain.life import Step
from sensor_alerts.history import History, Page, of_change
from sensor_alerts.leases import Subject
from sensor_alerts.ledger import Ledger
from sensor_alerts.listing import Filter, Order
from sensor_alerts.places import Place
from sensor_shared.contracts.alert_changes import AlertChange, AlertSnapshot, ChangeKind

MAX_CHANGES: Final = 1_000


class UnknownAlertError(LookupError):
    """There is no alert with this id."""


@dataclass(frozen=True, slots=True)
class Story:
    """An alert and its changes, the oldest first."""

    record: Record
    changes: list[AlertChange]


def _now() -> datetime:
    """In milliseconds, as ClickHouse keeps it: what is told at once is what is found later."""
    return from_ms(time.time_ns() // 1_000_000)


class Desk:
    """Each of its methods may be repeated: what is done already is not done again.

    All methods raise `DatabaseAwayError` when ClickHouse cannot answer now; those that change
    something raise what `Ledger.change` does.
    """

    def __init__(
        self,
        history: History,
        changes: Changes,
        ledger: Ledger,
        *,
        now: Callable[[], datetime] = _now,
    ):
        self._history = history
        self._changes = changes
        self._ledger = ledger
        self._now = now

    async def acknowledge(self, alert_id: str, by: str, note: str = "") -> Record:
        """Notes that somebody knows; the first one stays.

        Raises:
            UnknownAlertError: when there is no such alert.
        """
        return await self._change(
            alert_id, lambda record: life.acknowledged(record, by, self._now(), note)
        )

    async def clear(self, alert_id: str, by: str, note: str = "") -> Record:
        """Ends an alert by hand; a later breach opens it again.

        Raises:
            UnknownAlertError: when there is no such alert.
        """
        return await self._change(
            alert_id, lambda record: life.cleared(record, by, self._now(), self._now(), note)
        )

    async def comment(self, alert_id: str, by: str, note: str) -> Record:
        """Adds a comment; the same words of the same user are one comment.

        Raises:
            UnknownAlertError: when there is no such alert.
        """
        story = await self.story(alert_id)
        for change in story.changes:
            if (change.kind, change.by, change.note) == (ChangeKind.COMMENTED, by, note):
                return story.record
        return await self._change(
            alert_id, lambda record: life.commented(record, by, self._now(), note)
        )

    async def emailed(self, alert: AlertSnapshot) -> None:
        """Notes that a mail server took a mail about an alert."""
        await self._change(
            alert.alert_id,
            lambda record: Step(record) if record.email_sent else life.emailed(record, self._now()),
            Subject(alert.device_id, alert.episode),
        )

    async def page(
        self,
        chosen: Filter,
        *,
        limit: int,
        order: Order = Order.NEWEST,
        after: Place | None = None,
    ) -> Page:
        """Returns a page of a list: see `History.page`."""
        return await self._history.page(chosen, limit=limit, order=order, after=after)

    async def story(self, alert_id: str) -> Story:
        """Returns an alert and its newest changes.

        Raises:
            UnknownAlertError: when there is no such alert.
        """
        record = await self._found(alert_id)
        changes = await self._changes.of_alert(record.alert.device_id, alert_id, MAX_CHANGES)
        # Another replica may have stored the last change and not listed it yet.
        return Story(of_change(changes[-1], record) if changes else record, changes)

    async def _found(self, alert_id: str) -> Record:
        record = await self._history.one(alert_id)
        if record is None:
            raise UnknownAlertError(alert_id)
        return record

    async def _change(
        self, alert_id: str, decide: Callable[[Record], Step], subject: Subject | None = None
    ) -> Record:
        if subject is None:
            found = await self._found(alert_id)
            subject = Subject(found.alert.device_id, found.alert.episode)
        step = await self._ledger.change(
            subject,
            lambda record: None if record is None else decide(record),
            alert_id,
            listed=True,
        )
        if step is None:
            raise UnknownAlertError(alert_id)
        return step.record
