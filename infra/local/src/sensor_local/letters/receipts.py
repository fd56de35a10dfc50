"""Receipts: the memory of which letters were put back.

A receipt is a CloudEvent behind its letters in the same partition, so it lasts exactly as long
as they do: retention never removes it before them. A consumer group's offsets would not do, for
two reasons: letters are chosen freely, not from the beginning on; and Kafka forgets the offsets
of a group without members after 7 days, while letters are kept for 30.
"""

from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec

from sensor_dispatcher.cloudevents import CloudEvent
from sensor_local.letters.letter import Letter, Position
from sensor_shared.contracts.events import JSON, LETTERS_PUT_BACK_V1, new_id, rfc3339


class Receipt(msgspec.Struct):
    """The data of a receipt: offsets of letters of its own partition."""

    offsets: list[int]


def receipt(offsets: Iterable[int]) -> CloudEvent:
    """Returns the receipt for letters of one partition, to be written to that partition."""
    return CloudEvent(
        {
            "specversion": "1.0",
            "id": new_id(),
            "source": "urn:twinup:letters",
            "type": LETTERS_PUT_BACK_V1,
            "time": rfc3339(datetime.now(UTC)),
            "datacontenttype": JSON,
        },
        msgspec.json.encode(Receipt(sorted(offsets))),
    )


def is_receipt(letter: Letter) -> bool:
    """Tells whether a record among the letters is none of them but a receipt.

    What a stranger had delivered under that type carries the attributes of a failure, and is a
    letter.
    """
    return letter.attribute("type") == LETTERS_PUT_BACK_V1 and not letter.attribute(
        "knativeerrordest"
    )


def put_back(letter: Letter) -> set[Position]:
    """Returns the letters that a receipt names; none when it cannot be read."""
    try:
        read = msgspec.json.decode(letter.event.data or b"", type=Receipt)
    except (msgspec.DecodeError, RecursionError):
        return set()
    partition, behind = letter.position.partition, letter.position.offset
    return {Position(partition, offset) for offset in read.offsets if 0 <= offset < behind}
