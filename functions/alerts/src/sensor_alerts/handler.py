"""Events for the alert service: requests for alerts, and the sweep."""

from collections.abc import Awaitable, Callable

from sensor_alerts.domain.alert import InvalidRequestError
from sensor_alerts.intake import Intake
from sensor_shared.contracts import alerts
from sensor_shared.contracts.errors import Poison
from sensor_shared.contracts.events import ALERT_REQUESTED_V1, PING, Event


class AlertEvents:
    """Handles an event; a request does the same as SendAlert."""

    def __init__(self, intake: Intake, sweep: Callable[[], Awaitable[None]]):
        self._intake = intake
        self._sweep = sweep

    async def __call__(self, event: Event) -> None:
        """Takes one event.

        Raises:
            Poison: when it is no event for this function, or its request can never be taken.
            Retry: when a part is away.
        """
        if event.type == PING:
            await self._sweep()
            return
        if event.type != ALERT_REQUESTED_V1:
            raise Poison(f"events of type {event.type!r} are not for the alert service")
        try:
            await self._intake.accept(alerts.decode(event), "event")
        except InvalidRequestError as error:
            raise Poison(str(error)) from error
