"""What a letter holds, for people: its readings counted, its data as text."""

import io
import json
import time
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from sensor_dispatcher.cloudevents import CloudEvent
from sensor_shared.contracts.events import ARROW_STREAM, PLAIN_KAFKA_RECORD, READINGS_V1, Event
from sensor_shared.contracts.readings import decode

_READINGS = (READINGS_V1, PLAIN_KAFKA_RECORD)
_UNCOUNTABLE = frozenset(
    {"unsupported_content_type", "invalid_json", "invalid_arrow", "too_many_readings"}
)
"""Reasons of rejects that stand for the whole event."""
_SHOWN_ROWS = 20
_SHOWN_CHARACTERS = 8_000
_SHOWN_BYTES = 512
_LINE_BYTES = 16


def readings_in(event: CloudEvent) -> int | None:
    """Returns the number of readings, good and bad; None when they cannot be counted."""
    if event.attributes.get("type") not in _READINGS:
        return None
    content_type = event.attributes.get("datacontenttype")
    decoded = decode(
        Event("", "", "", event.data or b"", content_type), time.time_ns() // 1_000_000
    )
    if any(reject.reason in _UNCOUNTABLE for reject in decoded.rejects):
        return None
    return int(decoded.batch.num_rows) + len(decoded.rejects)


def as_text(event: CloudEvent) -> str:
    """Returns the data as JSON, as a table of its first rows, or as bytes; long data is cut.

    Never raises, and nothing in it reaches a terminal but printable characters and line breaks.
    """
    data = event.data or b""
    kind = event.attributes.get("datacontenttype", "").partition(";")[0].strip().lower()
    shown = (_arrow(data) if kind == ARROW_STREAM else None) or _json(data) or _hex(data)
    return printable(shown, lines=True)


def printable(text: str, *, lines: bool = False) -> str:
    """Returns `text` with U+FFFD for what is not printable; with `lines`, line breaks stay."""
    return "".join(
        one if one.isprintable() or (lines and one == "\n") else "\N{REPLACEMENT CHARACTER}"
        for one in text
    )


def _json(data: bytes) -> str | None:
    try:
        text = json.dumps(json.loads(data), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return None
    if len(text) <= _SHOWN_CHARACTERS:
        return text
    return f"{text[:_SHOWN_CHARACTERS]}\n… {len(text) - _SHOWN_CHARACTERS} more characters"


def _arrow(data: bytes) -> str | None:
    try:
        with pa.ipc.open_stream(io.BytesIO(data)) as stream:
            names, total = stream.schema.names, 0
            rows: list[list[str]] = []
            for batch in stream:
                batch.validate(full=True)
                total += batch.num_rows
                wanted = batch.slice(0, _SHOWN_ROWS - len(rows))
                columns = [column.to_pylist() for column in wanted.columns]
                rows += [[_cell(value) for value in row] for row in zip(*columns, strict=True)]
    except Exception:  # noqa: BLE001  (strangers' types: zones that do not exist, times out of range)
        return None
    shown = "\n".join(_aligned([names, *rows]))
    return shown if total == len(rows) else f"{shown}\n… {total - len(rows)} more readings"


def _cell(value: Any) -> str:
    return "-" if value is None else str(value)[:40]


def _aligned(rows: list[list[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()


def _hex(data: bytes) -> str:
    lines = []
    for start in range(0, min(len(data), _SHOWN_BYTES), _LINE_BYTES):
        chunk = data[start : start + _LINE_BYTES]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in chunk)
        lines.append(f"{start:06x}  {chunk.hex(' '):<47}  {text}")
    if len(data) > _SHOWN_BYTES:
        lines.append(f"… {len(data) - _SHOWN_BYTES} more bytes")
    return "\n".join(lines) or "(none)"
