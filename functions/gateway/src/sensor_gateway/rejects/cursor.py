"""The cursor of the rejects: the key of the last one shown."""

import base64
import binascii
from typing import Self

import msgspec


class RejectCursorError(ValueError):
    """The text is no cursor of ours."""


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
            RejectCursorError: for any other text.
        """
        try:
            plain = base64.b64decode(text.encode("ascii"), b"-_", validate=True)
            found = msgspec.json.decode(plain, type=cls)
        except (binascii.Error, ValueError, msgspec.DecodeError) as error:
            raise RejectCursorError("not a cursor of this service") from error
        if not (0 <= found.received_ms < 2**42 and 0 <= found.position < 2**32):
            raise RejectCursorError("not a cursor of this service")
        return found

    def write(self) -> str:
        """Returns it as text that a query string takes as it is."""
        plain = msgspec.json.encode(self)
        # Spaces rather than padding: `=` would have to be escaped.
        return base64.b64encode(plain.ljust(-(-len(plain) // 3) * 3), b"-_").decode()
