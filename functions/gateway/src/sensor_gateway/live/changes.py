"""What a stream is told: the newest value of a thing, and its place in the order of changes."""

from typing import Final, Protocol

from fastapi.sse import format_sse_event

from sensor_shared.adapters import latest_record
from sensor_shared.contracts.readings.document import encode

READING: Final = "reading"
STATUS: Final = "status"
END: Final = "end"


class Change(Protocol):
    """The newest value of one thing; a later one of the same `key` takes its place."""

    key: tuple[str, str]
    """The event's name, and the id of the thing."""
    version: int
    """The order of changes in this process."""

    def event(self) -> bytes:
        """Returns the event as it is sent, without an id."""


class ReadingChange:
    """The newest reading of a device; made into an event once, for all streams."""

    __slots__ = ("_event", "device_id", "key", "record", "version")

    def __init__(self, device_id: str, record: bytes, version: int):
        self.key = (READING, device_id)
        self.device_id = device_id
        self.record = record
        self.version = version
        self._event: bytes | None = None

    def event(self) -> bytes:
        """Returns the event `reading`."""
        if self._event is None:
            document = encode(latest_record.decode(self.device_id, self.record))
            self._event = format_sse_event(event=READING, data_str=document.decode())
        return self._event
