"""Puts letters back onto the topics that they came from, and remembers it."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Self

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from sensor_dispatcher.cloudevents import to_record
from sensor_local.letters.letter import Letter, Position
from sensor_local.letters.receipts import receipt

_CHUNK_LETTERS = 500
_CHUNK_BYTES = 32 * 1024 * 1024
_MAX_BYTES = 8 * 1024 * 1024
"""Only a topic may refuse an event for its size."""


@dataclass(frozen=True, slots=True)
class Left:
    """A letter that was not put back, and why. Without its data: there may be many."""

    position: Position
    event_id: str
    reason: str

    @classmethod
    def of(cls, letter: Letter, reason: str) -> Self:
        """Returns what is to be said of a letter."""
        return cls(letter.position, letter.attribute("id") or "-", reason)


@dataclass(slots=True)
class Outcome:
    """What became of letters that were to be put back."""

    letters: int = 0
    """Letters that are back, by their own copy or by that of another letter of the same event."""
    events: int = 0
    """Copies that Kafka has acknowledged."""
    failed: list[Left] = field(default_factory=list)
    """They stay to be put back."""


class PutBack:
    """Writes copies, then receipts.

    A receipt is written when Kafka has acknowledged the copies that it stands for. An end in
    between leaves letters that are put back once more: the same events, which change nothing.

    Not in one transaction: its markers take offsets on the topics of the data, where a group's
    lag would then never be 0.

    Args:
        brokers: bootstrap addresses, by commas.
        topic: of the letters, where receipts go.
        timeout: seconds until Kafka must have acknowledged a copy.
    """

    def __init__(self, brokers: str, topic: str, *, timeout: float = 30.0):
        self._topic = topic
        self._written: set[tuple[str, str, str]] = set()
        self._producer = Producer(
            {
                "bootstrap.servers": brokers,
                "enable.idempotence": True,
                "acks": "all",
                "compression.type": "snappy",
                "message.timeout.ms": int(timeout * 1000),
                "message.max.bytes": _MAX_BYTES,
                "log_level": 0,
            }
        )

    def put(self, letters: Iterable[tuple[Letter, str]]) -> Outcome:
        """Puts back letters, each onto its topic; two letters of one event make one copy.

        Raises:
            KafkaException: when a receipt was not acknowledged.
        """
        outcome = Outcome()
        for chunk in _chunks(letters):
            self._put(chunk, outcome)
        return outcome

    def _put(self, chunk: list[tuple[Letter, str]], outcome: Outcome) -> None:
        errors: dict[tuple[str, str, str], str] = {}
        events = {(topic, *letter.identity): letter for letter, topic in chunk}
        new = {event: letter for event, letter in events.items() if event not in self._written}
        for event, letter in new.items():
            self._write(event, letter, errors)
        self._producer.flush()
        written = new.keys() - errors.keys()
        self._written |= written
        outcome.events += len(written)
        offsets: defaultdict[int, list[int]] = defaultdict(list)
        for letter, topic in chunk:
            if error := errors.get((topic, *letter.identity)):
                outcome.failed.append(Left.of(letter, error))
            else:
                offsets[letter.position.partition].append(letter.position.offset)
        for partition, those in offsets.items():
            self._remember(partition, those)
            outcome.letters += len(those)

    def _write(
        self, event: tuple[str, str, str], letter: Letter, errors: dict[tuple[str, str, str], str]
    ) -> None:
        def settle(error: KafkaError | None, _message: Message) -> None:
            if error is not None:
                errors[event] = error.str()

        original = letter.original()
        key, value, headers = to_record(original)
        if trace := original.attributes.get("traceparent"):
            headers.append(("traceparent", trace.encode()))  # where the data plane looks for it
        try:
            self._producer.produce(
                event[0], value, key or letter.key, headers=[*headers], on_delivery=settle
            )
        except (BufferError, KafkaException) as error:
            errors[event] = str(error)

    def _remember(self, partition: int, offsets: list[int]) -> None:
        errors: list[KafkaError] = []

        def settle(error: KafkaError | None, _message: Message) -> None:
            if error is not None:
                errors.append(error)

        _, value, headers = to_record(receipt(offsets))
        self._producer.produce(
            self._topic, value, headers=[*headers], partition=partition, on_delivery=settle
        )
        self._producer.flush()
        if errors:
            raise KafkaException(errors[0])


def _chunks(letters: Iterable[tuple[Letter, str]]) -> Iterator[list[tuple[Letter, str]]]:
    chunk: list[tuple[Letter, str]] = []
    size = 0
    for letter, topic in letters:
        chunk.append((letter, topic))
        size += len(letter.event.data or b"")
        if len(chunk) >= _CHUNK_LETTERS or size >= _CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
