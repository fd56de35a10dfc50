"""What a stream of readings is told: the newest one of a device."""

from typing import Final

from fastapi.sse import format_sse_event

from sensor_shared.adapters import latest_record
from sensor_shared.contracts.readings.document import encode

READING: Final = "reading"


class ReadingChange:
    """The newest reading of a device; made into an event once, for all streams.

    Args:
        device_id: whose it is.
        record: it, as it is in Redis.
        version: its place in the order of changes in this process.
    """

    __slots__ = ("_event", "device_id", "record", "version")

    def __init__(self, device_id: str, record: bytes, version: int):
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
