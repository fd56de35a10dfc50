"""From the Kafka client's message to a record of plain values."""

from operator import methodcaller

from confluent_kafka import Message

from sensor_dispatcher.records import Headers, Record

_read_headers = methodcaller("headers")


def to_record(message: Message) -> Record:
    """Returns a consumed message (one without an error) as a value."""
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    if topic is None or partition is None or offset is None:
        raise TypeError("a record without coordinates")
    return Record(
        topic,
        partition,
        offset,
        max(0, message.timestamp()[1]),
        message.key(),
        message.value(),
        _headers(message),
    )


def _headers(message: Message) -> Headers:
    """Headers one of whose names is no UTF-8 cannot be read: such a record counts as plain.

    The client then returns a broken list and leaves its error pending. methodcaller notices, as
    an interpreter that has specialised a plain call (3.11 does) would not: the error would come
    up somewhere else, and end the thread.
    """
    try:
        return tuple(_read_headers(message) or ())
    except (UnicodeDecodeError, SystemError):
        return ()
