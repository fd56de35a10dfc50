"""The topic of dead letters, as it is at one moment."""

from collections.abc import Iterator
from dataclasses import replace

from sensor_local.letters.letter import Letter, Position
from sensor_local.letters.receipts import is_receipt, put_back
from sensor_local.stretches import TopicReader


class Box:
    """Reads the letters that are there when it is made, as often as it is asked.

    Raises:
        KafkaException: here and in every method, when the cluster does not answer.
    """

    def __init__(self, reader: TopicReader, topic: str):
        self._reader = reader
        self._stretches = reader.whole(topic)

    def letters(self) -> Iterator[Letter]:
        """Yields the letters, oldest first within each partition; receipts are none of them."""
        for letter in self._records():
            if not is_receipt(letter):
                yield letter

    def put_back(self) -> set[Position]:
        """Returns those that were put back already."""
        found: set[Position] = set()
        for letter in self._records():
            if is_receipt(letter):
                found |= put_back(letter)
        return found

    def at(self, position: Position) -> Letter | None:
        """Returns the letter at a position, None when none lies there."""
        for stretch in self._stretches:
            if stretch.partition == position.partition and (
                stretch.begin <= position.offset < stretch.end
            ):
                only = replace(stretch, begin=position.offset, end=position.offset + 1)
                letters = map(Letter.of, self._reader.read([only]))
                return next((letter for letter in letters if not is_receipt(letter)), None)
        return None

    def _records(self) -> Iterator[Letter]:
        return map(Letter.of, self._reader.read(self._stretches))
