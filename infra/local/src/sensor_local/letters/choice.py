"""Which letters are meant: all, or those of a source, a topic, a position, an id."""

from dataclasses import dataclass
from fnmatch import fnmatchcase

from sensor_local.letters.letter import Letter, Position


@dataclass(frozen=True, slots=True)
class Choice:
    """What a letter must be; empty means any.

    Attributes:
        source: the event's source, `*` and `?` stand for any characters.
        topic: that it came from.
        letter: its position (`0-17`), or the id of its event.
    """

    source: str = ""
    topic: str = ""
    letter: str = ""

    def __call__(self, letter: Letter, topic: str | None) -> bool:
        """Tells whether a letter, which came from `topic`, is one of them."""
        if self.source and not fnmatchcase(letter.attribute("source"), self.source):
            return False
        if self.topic and topic != self.topic:
            return False
        if not self.letter:
            return True
        if (position := Position.parse(self.letter)) is not None:
            return letter.position == position
        return letter.attribute("id") == self.letter
