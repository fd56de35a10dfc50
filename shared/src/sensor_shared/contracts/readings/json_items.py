"""Takes a JSON array apart where it is no good JSON as a whole."""

import re

from sensor_shared.contracts.readings.model import MAX_READINGS_PER_EVENT, TooManyReadingsError

_SPACE = b" \t\n\r"
# A string with its escapes, or one sign that structures the text.
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+"|[\[\]{},]', re.DOTALL)


def split(data: bytes) -> list[bytes] | None:
    """Returns the items of an array, each with the bytes it came in, None when it is no array.

    Only the array's own signs are looked at: what an item holds may be anything that keeps its
    strings and brackets closed (NaN, a number of a thousand digits, bytes that are no UTF-8).

    Raises:
        TooManyReadingsError: when there are more than `MAX_READINGS_PER_EVENT`.
    """
    data = data.strip(_SPACE)
    if not (data.startswith(b"[") and data.endswith(b"]")):
        return None
    items: list[bytes] = []
    open_, start = 0, 1
    for token in _TOKEN.finditer(data):
        sign = token.group()[:1]
        if sign in b"[{":
            open_ += 1
        elif sign in b"]}":
            open_ -= 1
            if open_ == 0:
                items.append(data[start : token.start()].strip(_SPACE))
                return items if token.end() == len(data) and all(items) else None
        elif sign == b"," and open_ == 1:
            items.append(data[start : token.start()].strip(_SPACE))
            start = token.end()
            if len(items) == MAX_READINGS_PER_EVENT:
                raise TooManyReadingsError
    return None
