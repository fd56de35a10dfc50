"""Events for the alert service: requests for alerts, and the sweep."""

from sensor_alerts.domain.alert import InvalidRequestError
from sensor_alerts.intake import Intake
from sensor_shared.contracts import alerts
from sensor_shared.contracts.errors import Poison
from sensor_shared.contracts.events import ALERT_REQUESTED_V1, PING, Event


class AlertEvents:
    """Handles an event; a request does the same as SendAlert."""

    def __init__(self, intake: Intake):
        self._intake = intake

    async def __call__(self, event: Event) -> None:
        """Takes one event.

        Raises:
            Poison: when it is no event for this function, or its request can never be taken.
            Retry: when the history is away.
        """
        if event.type == PING:
            await self._intake.flush()
            return
        if event.type != ALERT_REQUESTED_V1:
            raise Poison(f"events of type {event.type!r} are not for the alert service")
        try:
            await self._intake.accept(alerts.decode(event), "event")
        except InvalidRequestError as error:
            raise Poison(str(error)) from error
