"""Cursors: where the next page begins, as a text that callers hand back as it is.

A cursor names the last device of a page, so devices that come or go before or behind it neither
repeat nor hide another one. It holds a digest of the filters that it was made for: with others,
or changed on its way, it is refused. It is no secret and opens nothing that needs a permission.
"""

import base64
import binascii
import hashlib
import re
from typing import Final

from sensor_gateway.parameters import DEVICE_ID_PATTERN
from sensor_shared.contracts.opaque import CursorError

PATTERN: Final = r"^[A-Za-z0-9_-]{12,240}$"
_DIGEST_BYTES: Final = 9
_DEVICE_ID: Final = re.compile(DEVICE_ID_PATTERN.encode())


def encode(last: str, filters: str) -> str:
    """Returns the cursor behind the device `last` of a list with these filters."""
    data = last.encode()
    return base64.urlsafe_b64encode(_digest(data, filters) + data).rstrip(b"=").decode()


def decode(cursor: str, filters: str) -> str:
    """Returns the id behind which the page begins.

    Raises:
        CursorError: when it was not made for these filters.
    """
    try:
        # Python ignores what is no letter of the alphabet, unless it is told not to.
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise CursorError("this is no cursor") from error
    digest, data = raw[:_DIGEST_BYTES], raw[_DIGEST_BYTES:]
    if not _DEVICE_ID.fullmatch(data) or digest != _digest(data, filters):
        raise CursorError("the cursor is not one of a list with these filters")
    if encode(data.decode(), filters) != cursor:
        raise CursorError("this is no cursor")  # other bits behind the last byte
    return data.decode()


def _digest(last: bytes, filters: str) -> bytes:
    return hashlib.blake2b(
        filters.encode() + b"\0" + last, digest_size=_DIGEST_BYTES, person=b"cursor.1"
    ).digest()
