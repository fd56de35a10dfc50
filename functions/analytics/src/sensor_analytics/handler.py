"""What each type of event means to analytics."""

from collections.abc import Callable

from sensor_analytics.summaries import Summaries
from sensor_shared.adapters.group_commit import GroupCommit
from sensor_shared.contracts.events import PING, PLAIN_KAFKA_RECORD, READINGS_V1, Event
from sensor_shared.telemetry.logs import logger


class Handler:
    """Readings go to the windows, pings ask for region summaries.

    Args:
        analyse: takes events of readings, and answers each with what went wrong, if anything.
        summaries: answers pings.
        now_ms: the clock, epoch milliseconds.
    """

    def __init__(
        self,
        analyse: GroupCommit[Event, Exception | None],
        summaries: Summaries,
        now_ms: Callable[[], int],
    ):
        self._analyse = analyse
        self._summaries = summaries
        self._now_ms = now_ms
        self._log = logger(function="analytics")

    async def __call__(self, event: Event) -> None:
        """Handles one event; returns when it need not be delivered again.

        Raises:
            Retry: a part that is needed is down.
        """
        if event.type in (READINGS_V1, PLAIN_KAFKA_RECORD):
            if error := await self._analyse(event):
                raise error
            self._log.debug("readings analysed", event_id=event.id)
        elif event.type == PING:
            await self._summaries.summarise(event, self._now_ms())
            self._log.debug("regions summarised", event_id=event.id)
        else:
            self._log.warning("event ignored", event_id=event.id, type=event.type)
