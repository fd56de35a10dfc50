"""Where a list goes on, as a text that callers hand back as it is.

It names the last entry of a page and holds a digest of the question that it was made for: with
another one, or changed on its way, it is refused. Nothing in it is secret.
"""

import hashlib
from typing import Any, Final

import msgspec

from sensor_alerts.domain.alert import InvalidRequestError
from sensor_shared.contracts import opaque

_DIGEST_BYTES: Final = 9
_MAX_MS: Final = 2**42
"""In the year 2109."""


class Place(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The last entry of a page.

    Attributes:
        at_ms: the moment that the list is ordered by, epoch milliseconds.
        id: of the entry.
        rank: what comes before the moment in the order; 0 where nothing does.
    """

    at_ms: int
    id: str
    rank: int = 0

    def write(self, question: Any) -> str:
        """Returns it as text; `question` is anything that JSON can be made of."""
        return _written(msgspec.json.encode(self), question)


def read(text: str, question: Any, field: str) -> Place | None:
    """Reads what `Place.write` gave for the same question; None for an empty text.

    Raises:
        InvalidRequestError: when it is none of ours, or not one for this question; names `field`.
    """
    if not text:
        return None
    try:
        plain = opaque.read(text)[_DIGEST_BYTES:].rstrip(b" ")
        if text != _written(plain, question):
            raise InvalidRequestError(f"{field}: is not one of a list with these filters")
        found = msgspec.json.decode(plain, type=Place)
    except (opaque.CursorError, msgspec.DecodeError) as error:
        raise InvalidRequestError(f"{field}: is not one of this service") from error
    # Whoever knows this code can make a digest too.
    if not 0 <= found.at_ms < _MAX_MS:
        raise InvalidRequestError(f"{field}: is not one of this service")
    return found


def _written(plain: bytes, question: Any) -> str:
    asked = msgspec.json.encode(question) + b"\0" + plain
    return opaque.write(hashlib.blake2b(asked, digest_size=_DIGEST_BYTES).digest() + plain)
