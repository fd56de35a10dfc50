"""The cursor of the rejects: the key of the last one shown."""

from typing import Self

import msgspec

from sensor_shared.contracts import opaque
from sensor_shared.contracts.opaque import CursorError


class RejectCursor(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Where the next page goes on; all that follows is older, or has a smaller key."""

    received_ms: int
    source: str
    event_id: str
    position: int

    @classmethod
    def read(cls, text: str) -> Self:
        """Returns the cursor that `write` has written.

        Raises:
            CursorError: for any other text.
        """
        try:
            found = msgspec.json.decode(opaque.read(text), type=cls)
        except (ValueError, msgspec.DecodeError) as error:
            raise CursorError from error
        if not (0 <= found.received_ms < 2**42 and 0 <= found.position < 2**32):
            raise CursorError
        return found

    def write(self) -> str:
        """Returns it as text that a query string takes as it is."""
        return opaque.write(msgspec.json.encode(self))
