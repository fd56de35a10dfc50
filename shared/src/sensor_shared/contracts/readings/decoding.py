"""From the bytes of an event to valid readings and rejects."""

from collections.abc import Sequence
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
from sensor_shared.contracts.readings.validation import check, split

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
    batch, rejects = split(parsed, now_ms)
    return Decoded(batch, rejects, parsed.unknown_fields)


def decode_all(events: Sequence[Event], now_ms: int) -> list[Decoded]:
    """Decodes many small events as `decode` does each of them, at the cost of few.

    Checking a column costs nearly the same for one reading and for a hundred: well-typed JSON is
    joined, checked once and taken apart again. What is not, or breaks a rule, goes its own way.

    Args:
        events: of any form.
        now_ms: time of arrival in epoch milliseconds.
    """
    typed = [json_form.typed(event.data) if _form(event) == JSON else None for event in events]
    rows = [row for some in typed if some for row in some]
    if len(events) == 1 or not rows or len(rows) > MAX_READINGS_PER_EVENT:
        return [decode(event, now_ms) for event in events]
    batch, rules = check(json_form.columns(rows), now_ms)
    good = np.ones(len(rows), dtype=np.bool_)
    for _, mask in rules:
        good &= ~mask
    decoded, start = [], 0
    for event, some in zip(events, typed, strict=True):
        end = start + len(some or ())
        if end > start and good[start:end].all():
            decoded.append(Decoded(batch.slice(start, end - start)))
        else:
            decoded.append(decode(event, now_ms))
        start = end
    return decoded


def _form(event: Event) -> str | None:
    kind = (event.content_type or "").partition(";")[0].strip().lower()
    if kind == ARROW_STREAM or event.data.startswith(_ARROW_CONTINUATION):
        return ARROW_STREAM
    if kind == JSON or kind.endswith("+json") or event.data.lstrip(b" \t\n\r")[:1] in (b"{", b"["):
        return JSON
    return None


def _refuse(event: Event, reason: str, detail: str) -> Decoded:
    return Decoded(empty_batch(), [Reject(0, reason, detail, "", event.data)])
