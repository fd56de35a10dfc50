"""From the bytes of an event to valid readings and rejects."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from sensor_shared.contracts.events import ARROW_STREAM, JSON, Event
from sensor_shared.contracts.readings import arrow_form, json_form
from sensor_shared.contracts.readings.model import (
    MAX_READINGS_PER_EVENT,
    Reject,
    TooManyReadingsError,
    UnreadableError,
    empty_batch,
)
from sensor_shared.contracts.readings.splitting import split, split_all
from sensor_shared.contracts.readings.validation import Parsed, check

_SMALL_BYTES = 128 * 1024
"""Larger events gain little from company."""
_SMALL_UNFOLDED_BYTES = 512 * 1024
"""Few bytes can stand for very many: events that do are not kept beside each other."""
_ARROW_CONTINUATION = b"\xff\xff\xff\xff"


@dataclass(frozen=True, slots=True)
class Decoded:
    """What an event held.

    Attributes:
        batch: the valid readings, columns of `SCHEMA`.
        rejects: all the rest, each with its reason; nothing is ever left out.
        unknown_fields: number of fields that were ignored.
    """

    batch: pa.RecordBatch
    rejects: list[Reject] = field(default_factory=list)
    unknown_fields: int = 0


def decode(event: Event, now_ms: int) -> Decoded:
    """Decodes and validates the readings of an event; bad data becomes rejects, never an error.

    Args:
        event: its data is a JSON object, a JSON array or an Arrow IPC stream. The content
            type decides; where it is missing or says nothing, the first bytes do.
        now_ms: time of arrival in epoch milliseconds, against which timestamps are judged.
    """
    form = _form(event)
    if form is None:
        kind = (event.content_type or "")[:200]
        detail = f"data of content type {kind!r} is neither JSON nor an Arrow stream"
        return _refuse(event, "unsupported_content_type", detail)
    try:
        parsed = (
            arrow_form.parse(event.data) if form == ARROW_STREAM else json_form.parse(event.data)
        )
    except TooManyReadingsError as error:
        return _refuse(event, "too_many_readings", str(error))
    except UnreadableError as error:
        reason = "invalid_arrow" if form == ARROW_STREAM else "invalid_json"
        return _refuse(event, reason, str(error))
    return _checked(parsed, now_ms)


def decode_all(events: Sequence[Event], now_ms: int) -> list[Decoded]:
    """Decodes many events as `decode` does each of them, at the cost of few.

    Checking a column costs nearly the same for one reading and for a hundred, so what is well
    typed is joined, checked once and taken apart again. What is not goes its own way.

    Args:
        events: of any form.
        now_ms: time of arrival in epoch milliseconds.
    """
    if len(events) == 1:
        return [decode(events[0], now_ms)]
    forms = [_form(event) if len(event.data) <= _SMALL_BYTES else None for event in events]
    found: dict[int, Decoded] = {}
    for form, together in ((JSON, _json_together), (ARROW_STREAM, _arrow_together)):
        found |= together({at: events[at] for at, one in enumerate(forms) if one == form}, now_ms)
    return [found.get(at) or decode(event, now_ms) for at, event in enumerate(events)]


def _json_together(events: Mapping[int, Event], now_ms: int) -> dict[int, Decoded]:
    """Decodes those whose readings are all well typed and valid."""
    typed = {at: json_form.typed(event.data) or () for at, event in events.items()}
    rows = [row for some in typed.values() for row in some]
    if not rows or len(rows) > MAX_READINGS_PER_EVENT:
        return {}
    batch, rules = check(json_form.columns(rows), now_ms)
    good = np.ones(len(rows), dtype=np.bool_)
    for _, mask in rules:
        good &= ~mask
    found, start = {}, 0
    for at, some in typed.items():
        end = start + len(some)
        if end > start and good[start:end].all():
            found[at] = Decoded(batch.slice(start, end - start))
        start = end
    return found


def _arrow_together(events: Mapping[int, Event], now_ms: int) -> dict[int, Decoded]:
    """Decodes those that can be read; in one check those whose columns are all of their types."""
    found: dict[int, Decoded] = {}
    parsed: dict[int, Parsed] = {}
    for at, event in events.items():
        with contextlib.suppress(UnreadableError):
            one = arrow_form.parse(event.data)
            if one.columns.faults or one.size > _SMALL_UNFOLDED_BYTES:
                found[at] = _checked(one, now_ms)
            else:
                parsed[at] = one
    if not parsed or sum(len(one.columns) for one in parsed.values()) > MAX_READINGS_PER_EVENT:
        return found
    return found | {
        at: Decoded(batch, rejects, parsed[at].unknown_fields)
        for at, (batch, rejects) in zip(
            parsed, split_all(list(parsed.values()), now_ms), strict=True
        )
    }


def _checked(parsed: Parsed, now_ms: int) -> Decoded:
    batch, rejects = split(parsed, now_ms)
    return Decoded(batch, rejects, parsed.unknown_fields)


def _form(event: Event) -> str | None:
    kind = (event.content_type or "").partition(";")[0].strip().lower()
    if kind == ARROW_STREAM or event.data.startswith(_ARROW_CONTINUATION):
        return ARROW_STREAM
    if kind == JSON or kind.endswith("+json") or event.data.lstrip(b" \t\n\r")[:1] in (b"{", b"["):
        return JSON
    return None


def _refuse(event: Event, reason: str, detail: str) -> Decoded:
    return Decoded(empty_batch(), [Reject(0, reason, detail, "", event.data)])
