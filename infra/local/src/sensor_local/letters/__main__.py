"""`python -m sensor_local.letters list|show|put-back`: the dead letters.

Kafka is that of TWINUP_KAFKA_BROKERS, else that of the system that runs here.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TextIO

from sensor_dispatcher.wiring import read
from sensor_local.addresses import Addresses
from sensor_local.checkout import EVENTING
from sensor_local.command import exit_status
from sensor_local.failure import StartError
from sensor_local.letters import rendering
from sensor_local.letters.box import Box
from sensor_local.letters.choice import Choice
from sensor_local.letters.contents import printable
from sensor_local.letters.letter import Letter, Position
from sensor_local.letters.origin import Origins
from sensor_local.letters.putting import Left, PutBack
from sensor_local.letters.summary import summarise
from sensor_local.stretches import TopicReader
from sensor_shared.contracts.events import DEAD_LETTERS

_NAMED = 20
"""Letters that are listed one by one when something is to be said of them."""
_SHOWN = 10
"""Letters of one id that are shown; one event can fail at several functions, and again."""


class Letters:
    """What the commands do, each returns its exit status."""

    def __init__(self, options: argparse.Namespace, environ: Mapping[str, str], out: TextIO):
        addresses = Addresses(environ)
        self._options = options
        self._out = out
        self._brokers = addresses.brokers
        self._origins = Origins(read(options.eventing), addresses.services)
        self._choice = Choice(options.source, options.topic, getattr(options, "letter", ""))

    def count(self) -> int:
        """Prints the groups."""
        with closing(TopicReader(self._brokers)) as reader:
            box = Box(reader, self._options.letters)
            letters = (letter for letter, _ in self._chosen(box))
            groups = summarise(letters, box.put_back(), self._origins)
        if self._options.json:
            self._print(rendering.groups_document(groups))
        elif groups:
            rendering.console(self._out).print(rendering.groups(groups))
        else:
            self._print("no dead letters")
        return 0

    def show(self) -> int:
        """Prints one letter, or those of one event."""
        with closing(TopicReader(self._brokers)) as reader:
            box = Box(reader, self._options.letters)
            done = box.put_back()
            found = list(self._shown(box))
        if not found:
            raise StartError(f"no dead letter {self._options.letter}")
        places = [(one, self._origins.topic(one), one.position in done) for one in found]
        if self._options.json:
            documents = [
                rendering.letter_document(one, topic, put_back=back) for one, topic, back in places
            ]
            self._print(json.dumps(documents, indent=2))
            return 0
        for number, (one, topic, back) in enumerate(places):
            rendering.console(self._out).print(rendering.letter(one, topic, put_back=back))
            if number < len(places) - 1:
                self._print("")
        return 0

    def put_back(self) -> int:
        """Puts back those chosen that are not back yet; status 1 when one could not be."""
        options = self._options
        with closing(TopicReader(self._brokers)) as reader:
            box = Box(reader, options.letters)
            done = set() if options.again else box.put_back()
            unknown: list[Left] = []
            ready = self._ready(box, done, unknown)
            if options.dry_run:
                self._print(f"{sum(1 for _ in ready)} letters would be put back")
                failed: list[Left] = []
            else:
                outcome = PutBack(self._brokers, options.letters).put(ready)
                self._print(f"{outcome.letters} letters put back, as {outcome.events} events")
                failed = outcome.failed
        if unknown:
            self._print(f"{len(unknown)} left, whose topic cannot be told:")
            self._name(unknown)
        if failed:
            self._print(f"{len(failed)} could not be put back:")
            self._name(failed)
        return 1 if failed else 0

    def _chosen(self, box: Box) -> Iterator[tuple[Letter, str | None]]:
        for letter in box.letters():
            topic = self._origins.topic(letter)
            if self._choice(letter, topic):
                yield letter, topic

    def _ready(
        self, box: Box, done: set[Position], unknown: list[Left]
    ) -> Iterator[tuple[Letter, str]]:
        for letter, topic in self._chosen(box):
            if letter.position in done:
                continue
            if topic is None:
                unknown.append(Left.of(letter, letter.attribute("type") or "no CloudEvent"))
            else:
                yield letter, topic

    def _shown(self, box: Box) -> Iterator[Letter]:
        position = Position.parse(self._options.letter)
        if position is not None:
            if (letter := box.at(position)) is not None:
                yield letter
            return
        for number, (letter, _) in enumerate(self._chosen(box)):
            if number == _SHOWN:
                return
            yield letter

    def _name(self, letters: list[Left]) -> None:
        for left in letters[:_NAMED]:
            self._print(f"  {left.position}  {printable(left.event_id)}  {printable(left.reason)}")
        if len(letters) > _NAMED:
            self._print(f"  … and {len(letters) - _NAMED} more")

    def _print(self, line: str) -> None:
        self._out.write(f"{line}\n")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="sensor_local.letters", description=__doc__)
    parser.add_argument("--letters", default=DEAD_LETTERS, help="topic of the dead letters")
    parser.add_argument("--eventing", type=Path, default=EVENTING, help="folder of the wiring")
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("list", help="count them by topic, source and reason")
    show = commands.add_parser("show", help="show one whole")
    back = commands.add_parser("put-back", help="put them back onto their topics, each once")
    show.add_argument("letter", help="its place as partition-offset, or its event's id")
    back.add_argument("--letter", default="", help="only this one: partition-offset, or event id")
    back.add_argument("--dry-run", action="store_true", help="only count them")
    back.add_argument("--again", action="store_true", help="also those that were put back before")
    for command in (listing, show):
        command.add_argument("--json", action="store_true", help="print JSON")
    for command in (listing, show, back):
        command.add_argument("--source", default="", help="only of this source; * and ? match")
        command.add_argument("--topic", default="", help="only those that came from this topic")
    return parser.parse_args(arguments)


def main(
    arguments: Sequence[str] | None = None,
    environ: Mapping[str, str] = os.environ,
    out: TextIO = sys.stdout,
    err: TextIO = sys.stderr,
) -> int:
    """Command line entry; returns the exit status."""
    options = _options(arguments)

    def work() -> int:
        letters = Letters(options, environ, out)
        commands = {"list": letters.count, "show": letters.show, "put-back": letters.put_back}
        return commands[options.command]()

    return exit_status(work, err)


if __name__ == "__main__":
    sys.exit(main())
