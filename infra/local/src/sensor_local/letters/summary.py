"""The letters in groups: how many of each topic, source and reason."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from sensor_local.letters.contents import readings_in
from sensor_local.letters.letter import CODE, DESTINATION, Letter, Position
from sensor_local.letters.origin import Origins

_REASON_CHARACTERS = 100
MAX_GROUPS = 1000
"""A source can be any text: strangers must not fill the memory with groups."""
OTHERS = "(others)"


@dataclass(slots=True)
class Group:
    """Letters that share topic, source, destination and reason. Times in epoch ms."""

    topic: str | None
    source: str
    destination: str
    code: str
    reason: str
    letters: int = 0
    readings: int | None = None
    """Of those letters whose readings can be counted; None when no letter's can."""
    put_back: int = 0
    again: int = 0
    """Letters that had been put back or replayed before."""
    first_ms: int = 0
    last_ms: int = 0

    def add(self, letter: Letter, *, put_back: bool) -> None:
        """Counts a letter."""
        self.first_ms = min(self.first_ms, letter.time_ms) if self.letters else letter.time_ms
        self.last_ms = max(self.last_ms, letter.time_ms)
        self.letters += 1
        self.put_back += put_back
        self.again += letter.again
        if (count := readings_in(letter.event)) is not None:
            self.readings = (self.readings or 0) + count


def summarise(
    letters: Iterable[Letter], done: Collection[Position], origins: Origins
) -> list[Group]:
    """Groups letters; most letters first.

    Args:
        letters: all of them.
        done: those that were put back.
        origins: tells their topics.
    """
    groups: dict[tuple[object, ...], Group] = {}
    for letter in letters:
        topic = origins.topic(letter)
        key = (
            topic,
            letter.attribute("source"),
            letter.attribute(DESTINATION),
            letter.attribute(CODE),
            letter.reason[:_REASON_CHARACTERS],
        )
        if key not in groups and len(groups) >= MAX_GROUPS:
            key = (topic, OTHERS, OTHERS, "", OTHERS)
        group = groups.setdefault(key, Group(*key))
        group.add(letter, put_back=letter.position in done)
    return sorted(groups.values(), key=lambda group: (-group.letters, -group.last_ms))
