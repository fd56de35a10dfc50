"""Where an export is found again, and its next part (RFC 8288)."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlencode

from sensor_gateway.domain import Span
from sensor_gateway.export.chunks import Selection
from sensor_gateway.export.forms import Name
from sensor_gateway.export.position import Position
from sensor_shared.contracts.events import rfc3339_ms

PATH: Final = "/api/v1/export"


def links(selection: Selection, name: Name, limit: int | None, following: Position | None) -> str:
    """Returns the header `Link`.

    `self` says the span, also when the request has left it open: with `after` added it goes on
    where a file was cut.

    Args:
        selection: of the export.
        name: of its form.
        limit: readings of a part.
        following: where this part ends, when it is not the last.
    """
    pairs: list[tuple[str, str | int]] = [
        ("format", name),
        ("from", rfc3339_ms(selection.span.start_ms)),
        ("to", rfc3339_ms(selection.span.end_ms)),
    ]
    named: dict[str, Sequence[str]] = {
        "metric": selection.metrics,
        "device_id": selection.devices,
        "region": selection.regions,
        "type": selection.types,
    }
    pairs += [(key, value) for key, values in named.items() for value in values]
    pairs += [] if limit is None else [("limit", limit)]
    found = [f'<{PATH}?{urlencode(pairs)}>; rel="self"']
    if following is not None:
        after = f"{following.device_id},{rfc3339_ms(following.at_ms)}"
        found.append(f'<{PATH}?{urlencode([*pairs, ("after", after)])}>; rel="next"')
    return ", ".join(found)


def file_name(span: Span, name: Name) -> str:
    """Returns what the file is called, e.g. readings-20260921T000000Z-20260922T000000Z.csv."""
    start, end = (
        datetime.fromtimestamp(moment / 1000, UTC).strftime("%Y%m%dT%H%M%SZ")
        for moment in (span.start_ms, span.end_ms)
    )
    return f"readings-{start}-{end}.{name}"
