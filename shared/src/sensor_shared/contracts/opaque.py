"""Bytes as a text that callers hand back in a query string as it is, and that says nothing to them.

Nothing in it is secret, and a forged one gains nothing: who reads it checks what it says.
"""

import base64
import binascii


class CursorError(ValueError):
    """The text is no cursor of ours, or not one for this question."""

    def __init__(self, reason: str = "not a cursor of this service"):
        super().__init__(reason)


def write(plain: bytes) -> str:
    """Returns the text; spaces may follow what it holds."""
    # Spaces rather than padding: `=` would have to be escaped.
    return base64.b64encode(plain.ljust(-(-len(plain) // 3) * 3), b"-_").decode()


def read(text: str) -> bytes:
    """Returns what `write` was given, perhaps with spaces behind it.

    Raises:
        CursorError: when the text is none of its.
    """
    try:
        return base64.b64decode(text.encode("ascii"), b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise CursorError from error
