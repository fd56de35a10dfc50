"""What people do with alerts: look them up, acknowledge, clear, comment."""

from typing import Final

from sensor_gateway.alerts import messages
from sensor_gateway.alerts.calls import AlertCalls, Method
from sensor_gateway.alerts.models import Alert, AlertHistory, AlertPage
from sensor_gateway.alerts.parameters import Wanted
from twinup.alert.v1 import alert_pb2

_UNKNOWN: Final = "no such alert"


class Alerts:
    """Asks the alert service, which alone reads and writes its tables.

    All methods raise what `AlertCalls.ask` does; those that change something may be repeated.
    """

    def __init__(self, calls: AlertCalls):
        self._calls = calls

    async def page(self, wanted: Wanted) -> AlertPage:
        """Returns a page of a list.

        Raises:
            SpanError: when there is nothing between its ends.
        """
        found = await self._calls.ask(lambda channel: channel.alerts.ListAlerts, wanted.request())
        return AlertPage(
            items=[messages.alert(one) for one in found.alerts],
            total=found.total_count,
            next=found.next_page_token or None,
        )

    async def one(self, alert_id: str) -> AlertHistory:
        """Returns an alert with its changes."""
        request = alert_pb2.GetAlertRequest(alert_id=alert_id)
        found = await self._calls.ask(
            lambda channel: channel.alerts.GetAlert, request, unknown=_UNKNOWN
        )
        return messages.history(found)

    async def acknowledge(self, alert_id: str, user: str, note: str) -> Alert:
        """Notes that a user knows; whoever did so first stays."""
        return await self._change(
            lambda channel: channel.alerts.AcknowledgeAlert, alert_id, user, note
        )

    async def clear(self, alert_id: str, user: str, note: str) -> Alert:
        """Ends an alert by hand."""
        return await self._change(lambda channel: channel.alerts.ClearAlert, alert_id, user, note)

    async def comment(self, alert_id: str, user: str, note: str) -> Alert:
        """Adds a comment."""
        return await self._change(lambda channel: channel.alerts.CommentAlert, alert_id, user, note)

    async def _change(
        self,
        method: Method[alert_pb2.ChangeAlertResponse],
        alert_id: str,
        user: str,
        note: str,
    ) -> Alert:
        request = alert_pb2.ChangeAlertRequest(alert_id=alert_id, user=user, note=note)
        answer = await self._calls.ask(method, request, unknown=_UNKNOWN)
        return messages.alert(answer.alert)
