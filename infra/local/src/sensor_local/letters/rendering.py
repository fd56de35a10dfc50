"""Groups and letters as tables and as JSON."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, TextIO

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from sensor_local.letters import summary
from sensor_local.letters.contents import as_text, printable, readings_in
from sensor_local.letters.letter import CODE, DATA, DESTINATION, Letter
from sensor_shared.contracts.events import rfc3339

UNKNOWN = "unknown"


def console(out: TextIO) -> Console:
    """Returns where tables go; wide enough for a file to be searched line by line."""
    made = Console(file=out)
    return made if made.is_terminal else Console(file=out, width=200)


def groups(found: Sequence[summary.Group]) -> RenderableType:
    """Returns the table of groups and their sum."""
    table = Table(box=None, pad_edge=False)
    for name in ("topic", "source", "refused by", "code", "reason"):
        table.add_column(name, overflow="fold")
    for name in ("letters", "readings", "put back"):
        table.add_column(name, justify="right")
    for name in ("first", "last"):
        table.add_column(name, no_wrap=True)
    for group in found:
        table.add_row(
            *_texts(
                group.topic or UNKNOWN,
                group.source or "-",
                group.destination or "-",
                group.code or "-",
                group.reason or "-",
                group.letters,
                "-" if group.readings is None else group.readings,
                group.put_back,
                moment(group.first_ms),
                moment(group.last_ms),
            )
        )
    return Group(table, Text(total(found)))


def total(found: Sequence[summary.Group]) -> str:
    """Returns what there is in one sentence."""
    letters = sum(group.letters for group in found)
    back = sum(group.put_back for group in found)
    lost = sum(group.letters - group.put_back for group in found if group.topic is None)
    again = sum(group.again for group in found)
    words = f"{letters} dead letters, {back} of them put back, {letters - back - lost} to put back"
    if lost:
        words += f", {lost} whose topic cannot be told"
    return words + (f"; {again} had failed before" if again else "")


def groups_document(found: Sequence[summary.Group]) -> str:
    """Returns the groups as JSON; times are RFC 3339."""
    documents = []
    for group in found:
        document = asdict(group)
        for name in ("first", "last"):
            document[name] = moment(document.pop(f"{name}_ms"))
        documents.append(document)
    sums = {
        "letters": sum(group.letters for group in found),
        "put_back": sum(group.put_back for group in found),
    }
    return json.dumps({**sums, "groups": documents}, indent=2)


def letter(shown: Letter, topic: str | None, *, put_back: bool) -> RenderableType:
    """Returns one letter: where from, why, attributes, data."""
    count = readings_in(shown.event)
    facts = {
        "letter": str(shown.position),
        "written": moment(shown.time_ms),
        "came from": topic or UNKNOWN,
        "put back": "yes" if put_back else "no",
        "refused by": shown.attribute(DESTINATION) or UNKNOWN,
        "with status": shown.attribute(CODE) or "none: there was no answer",
        "saying": shown.answer or "nothing",
        "readings": "-" if count is None else str(count),
        "key": "-" if shown.key is None else shown.key.decode("utf-8", errors="replace"),
    }
    size = len(shown.event.data or b"")
    return Group(
        _pairs(facts.items()),
        Text("\nattributes"),
        _pairs(_attributes(shown).items()),
        Text(f"\ndata ({size} bytes)"),
        Text(as_text(shown.event)),
    )


def letter_document(shown: Letter, topic: str | None, *, put_back: bool) -> dict[str, Any]:
    """Returns one letter as a document; its data as text, in the form that people read."""
    return {
        "letter": str(shown.position),
        "written": moment(shown.time_ms),
        "topic": topic,
        "put_back": put_back,
        "destination": shown.attribute(DESTINATION),
        "code": shown.attribute(CODE),
        "answer": shown.answer,
        "readings": readings_in(shown.event),
        "key": None if shown.key is None else shown.key.decode("utf-8", errors="replace"),
        "attributes": _attributes(shown),
        "data": as_text(shown.event),
    }


def moment(time_ms: int) -> str:
    """Returns epoch milliseconds as RFC 3339 in UTC."""
    return rfc3339(datetime.fromtimestamp(time_ms / 1000, UTC))


def _attributes(shown: Letter) -> dict[str, str]:
    told = (DESTINATION, CODE, DATA)
    return {name: value for name, value in shown.event.attributes.items() if name not in told}


def _pairs(pairs: Iterable[tuple[str, str]]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in pairs:
        table.add_row(*_texts(name, value))
    return table


def _texts(*values: object) -> list[Text]:
    """As text without markup and without what a terminal would obey: strangers wrote it."""
    return [Text(printable(str(value))) for value in values]
