"""A change of an alert as the stream sends it, and which of them a stream follows."""

from dataclasses import dataclass
from typing import Final

from fastapi.sse import format_sse_event

from sensor_shared.adapters.alert_tail import Entry
from sensor_shared.contracts.alert_changes import AlertChange, read
from sensor_shared.contracts.errors import Poison
from sensor_shared.contracts.rules import AlertType, Severity
from sensor_shared.telemetry.logs import logger

ALERT: Final = "alert"
RESET: Final = "reset"
BEGIN: Final = "begin"
GAP: Final = "gap"


class AlertEvent:
    """One entry of the stream in Redis; made into an event once, for all streams.

    `change` is None where something is missing, be it a change that never came or one that this
    version cannot read: then every stream says so.
    """

    __slots__ = ("_event", "change", "id")

    def __init__(self, entry: Entry):
        self.id = entry.id
        self.change = None if entry.data is None else _read(entry.data)
        if self.change is None or entry.data is None:
            self._event = reset(GAP, str(entry.id))
        else:
            text = entry.data.decode()
            self._event = format_sse_event(event=ALERT, data_str=text, id=str(entry.id))

    def event(self) -> bytes:
        """Returns the event `alert`, or `reset` where something is missing."""
        return self._event


@dataclass(frozen=True)
class AlertFilter:
    """All that is given must hold; what is empty lets everything through."""

    devices: frozenset[str] = frozenset()
    regions: frozenset[str] = frozenset()
    types: frozenset[AlertType] = frozenset()
    severity: Severity = Severity.LOW
    """The least; an alert that had it before the change counts too, so that nobody misses that it
    got better."""

    def takes(self, change: AlertChange) -> bool:
        """Tells whether a change is followed."""
        alert = change.alert
        worst = max(
            alert.severity.rank, change.severity_before.rank if change.severity_before else 0
        )
        return (
            worst >= self.severity.rank
            and (not self.devices or alert.device_id in self.devices)
            and (not self.regions or alert.region in self.regions)
            and (not self.types or alert.alert_type in self.types)
        )


def reset(reason: str, place: str | None) -> bytes:
    """Returns the event that tells a client to ask for all alerts anew.

    Args:
        reason: `begin` or `gap`.
        place: from which on the stream tells everything; None: from its begin.
    """
    return format_sse_event(event=RESET, data_str=f'{{"reason":"{reason}"}}', id=place)


def _read(data: bytes) -> AlertChange | None:
    try:
        return read(data)
    except Poison as error:
        logger(part="live").error("a change that cannot be read", error=str(error))
        return None
