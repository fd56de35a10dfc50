"""The cursor of a history: what is left of the span, and how it is read."""

import re
from dataclasses import dataclass
from typing import Literal, Self

from sensor_gateway.domain import LAST_MS, Span
from sensor_gateway.rollups.resolution import Resolution
from sensor_shared.contracts import opaque
from sensor_shared.contracts.opaque import CursorError

Order = Literal["newest", "oldest"]
_FORM = re.compile(r"(raw|minute|hour|day) (\d{1,13}) (\d{1,13}) (newest|oldest)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where the next page goes on."""

    resolution: Resolution
    rest: Span
    order: Order

    @classmethod
    def read(cls, text: str) -> Self:
        """Returns the cursor that `write` has written.

        Raises:
            CursorError: for any other text.
        """
        try:
            plain = opaque.read(text).decode("ascii")
        except UnicodeDecodeError as error:
            raise CursorError from error
        found = _FORM.fullmatch(plain.rstrip(" "))
        if not found or not int(found[2]) < int(found[3]) <= LAST_MS:
            raise CursorError
        order: Order = "newest" if found[4] == "newest" else "oldest"
        return cls(Resolution(found[1]), Span(int(found[2]), int(found[3])), order)

    def write(self) -> str:
        """Returns it as text that a query string takes as it is."""
        plain = f"{self.resolution} {self.rest.start_ms} {self.rest.end_ms} {self.order}"
        return opaque.write(plain.encode())
