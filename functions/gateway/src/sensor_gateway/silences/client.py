"""What people do with silences: look them up, make, change and end them."""

from collections.abc import Callable
from datetime import UTC, datetime
from glob import escape
from typing import Final

from sensor_gateway.alerts import messages as alert_messages
from sensor_gateway.alerts.calls import AlertCalls
from sensor_gateway.alerts.models import Alert
from sensor_gateway.silences import messages
from sensor_gateway.silences.models import (
    ChangedSilence,
    NewSilence,
    Scope,
    Silence,
    SilenceOfAlert,
    SilencePage,
)
from twinup.alert.v1 import alert_pb2, silence_pb2

_UNKNOWN: Final = "no such silence"


class Silences:
    """Asks the alert service; all methods raise what `AlertCalls.ask` does.

    Args:
        calls: of the alert service.
        now: the time, UTC: from when the minutes of a silence count.
    """

    def __init__(
        self, calls: AlertCalls, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ):
        self._calls = calls
        self._now = now

    async def page(self, *, ended: bool, limit: int, cursor: str | None) -> SilencePage:
        """Returns a page, the last to end first."""
        request = silence_pb2.ListSilencesRequest(ended=ended, limit=limit, cursor=cursor or "")
        found = await self._calls.ask(lambda channel: channel.silences.ListSilences, request)
        return SilencePage(
            items=[messages.silence(one) for one in found.silences], next=found.next_cursor or None
        )

    async def one(self, silence_id: str) -> Silence:
        """Returns a silence."""
        request = silence_pb2.GetSilenceRequest(silence_id=silence_id)
        found = await self._calls.ask(
            lambda channel: channel.silences.GetSilence, request, unknown=_UNKNOWN
        )
        return messages.silence(found)

    async def create(self, wanted: NewSilence, author: str) -> Silence:
        """Makes a silence."""
        return await self._create(
            silence_pb2.CreateSilenceRequest(
                scope=messages.scope(wanted.scope),
                starts_at=messages.moment(wanted.starts_at),
                ends_at=messages.moment(wanted.end(wanted.starts_at or self._now())),
                recurrence=messages.recurrence(wanted.recurrence),
                author=author,
                reason=wanted.reason,
            )
        )

    async def of_alert(self, alert_id: str, wanted: SilenceOfAlert, author: str) -> Silence:
        """Makes a silence for the device and rule of an alert, and nothing else."""
        request = alert_pb2.GetAlertRequest(alert_id=alert_id)
        found = await self._calls.ask(
            lambda channel: channel.alerts.GetAlert, request, unknown="no such alert"
        )
        return await self._create(
            silence_pb2.CreateSilenceRequest(
                scope=messages.scope(scope_of(alert_messages.alert(found.alert))),
                ends_at=messages.moment(wanted.end(self._now())),
                author=author,
                reason=wanted.reason,
            )
        )

    async def change(self, silence_id: str, wanted: ChangedSilence, author: str) -> Silence:
        """Changes what is given."""
        request = silence_pb2.UpdateSilenceRequest(
            silence_id=silence_id,
            scope=None if wanted.scope is None else messages.scope(wanted.scope),
            starts_at=messages.moment(wanted.starts_at),
            ends_at=messages.moment(wanted.ends_at),
            recurrence=messages.recurrence(wanted.recurrence),
            author=author,
            reason=wanted.reason or "",
        )
        found = await self._calls.ask(
            lambda channel: channel.silences.UpdateSilence, request, unknown=_UNKNOWN
        )
        return messages.silence(found)

    async def end(self, silence_id: str, author: str) -> Silence:
        """Ends a silence now; one that is over stays as it is."""
        request = silence_pb2.EndSilenceRequest(silence_id=silence_id, author=author)
        found = await self._calls.ask(
            lambda channel: channel.silences.EndSilence, request, unknown=_UNKNOWN
        )
        return messages.silence(found)

    async def _create(self, request: silence_pb2.CreateSilenceRequest) -> Silence:
        made = await self._calls.ask(lambda channel: channel.silences.CreateSilence, request)
        return messages.silence(made)


def scope_of(alert: Alert) -> Scope:
    """Returns what an alert is about: its device and its rule, or its type where it has none."""
    # A region may be called as it likes, and a group is named after it: no pattern.
    devices = [escape(alert.device_id)]
    if alert.rule_id:
        return Scope(devices=devices, rules=[alert.rule_id])
    return Scope(devices=devices, alert_types=[alert.alert_type])
