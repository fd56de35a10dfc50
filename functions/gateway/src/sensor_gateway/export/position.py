"""A place in an export: the key of a reading. Every row of a file is a place to go on from."""

import re
from dataclasses import dataclass
from typing import Final, Self

from sensor_gateway.domain import MomentError, moment

FORM: Final = r"^[A-Za-z0-9_\-.:]{1,128},[0-9TtZz:.+\-]{1,40}$"
_FORM = re.compile(FORM, re.ASCII)


class PositionError(ValueError):
    """The text is no place in an export."""


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """Device and epoch milliseconds: the order of every export."""

    device_id: str
    at_ms: int

    @classmethod
    def read(cls, text: str) -> Self:
        """Returns the place behind `device_id,timestamp`, as the rows of an export have them.

        Raises:
            PositionError: for any other text.
        """
        device, comma, at = text.partition(",")
        if not comma or not _FORM.fullmatch(text):
            raise PositionError("`after` must be a device's id, a comma and a timestamp")
        try:
            return cls(device, moment(at))
        except MomentError as error:
            raise PositionError(f"`after`: the timestamp {error}") from error
