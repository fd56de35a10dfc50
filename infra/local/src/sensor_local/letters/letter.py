"""One dead letter: an event and why it could not be delivered."""

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Any, Self

import msgspec

from sensor_dispatcher.cloudevents import CloudEvent
from sensor_dispatcher.records import Record, carried
from sensor_shared.contracts.events import REPLAYED

DESTINATION, CODE, DATA = "knativeerrordest", "knativeerrorcode", "knativeerrordata"
_OF_THE_DELIVERY = frozenset(
    {DESTINATION, CODE, DATA, "knativekafkapartition", "knativekafkaoffset"}
)
"""Attributes that the event got on its way, and gets again on the next one."""
_POSITION = re.compile(r"(\d{1,10})-(\d{1,19})")


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """Where a letter lies in its topic; written `partition-offset`, e.g. `0-17`."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}-{self.offset}"

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Returns the position that `text` names, None when it names none."""
        found = _POSITION.fullmatch(text)
        return cls(int(found[1]), int(found[2])) if found else None


@dataclass(frozen=True, slots=True)
class Letter:
    """A record of the topic of dead letters.

    Attributes:
        position: of the record.
        time_ms: when it was written, epoch milliseconds.
        key: of the record; the data plane made it from the event's `partitionkey`.
        event: attributes and data; without any attributes when the record is no CloudEvent.
    """

    position: Position
    time_ms: int
    key: bytes | None
    event: CloudEvent

    @classmethod
    def of(cls, record: Record) -> Self:
        """Returns the record as a letter; never raises."""
        event = carried(record) or CloudEvent({}, record.value)
        return cls(Position(record.partition, record.offset), record.time_ms, record.key, event)

    def attribute(self, name: str) -> str:
        """Returns an attribute, empty when there is none."""
        return self.event.attributes.get(name, "")

    @property
    def identity(self) -> tuple[str, str]:
        """What CloudEvents' equality is: source and id."""
        return self.attribute("source"), self.attribute("id")

    @property
    def again(self) -> bool:
        """Whether it had been put back or replayed before, and has failed once more."""
        return bool(self.attribute(REPLAYED))

    @property
    def answer(self) -> str:
        """The beginning of the last answer, or the error that there was instead of one."""
        given = self.attribute(DATA)
        try:
            return base64.b64decode(given, validate=True).decode("utf-8", errors="replace")
        except (binascii.Error, ValueError):
            return given

    @property
    def reason(self) -> str:
        """What the answer says in words: `detail` of a problem document, else its text."""
        try:
            document: Any = msgspec.json.decode(self.answer.encode())
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            return self.answer
        if isinstance(document, dict) and isinstance(detail := document.get("detail"), str):
            return detail
        return self.answer

    def original(self) -> CloudEvent:
        """Returns the event as it was before its delivery, marked as delivered again."""
        kept = {
            name: value
            for name, value in self.event.attributes.items()
            if name not in _OF_THE_DELIVERY
        }
        return CloudEvent({**kept, REPLAYED: "true"}, self.event.data)
