"""Which devices a rule is about, and which of several rules is the most special one."""

import re
from functools import cached_property
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from sensor_shared.contracts.readings import DEVICE_TYPES


class Scope(BaseModel):
    """Devices that fit everything that is given; nothing given: all devices."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    device_type: str | None = None
    """As its id begins, or `unknown`."""
    region: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    """As the reading tells it; a reading that tells none fits no region."""
    device: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:*?-]{1,128}$")] | None = None
    """An id, or a pattern: `*` stands for any characters, `?` for one."""

    @field_validator("device_type")
    @classmethod
    def _is_known(cls, device_type: str | None) -> str | None:
        known = (*DEVICE_TYPES, "unknown")
        if device_type is not None and device_type not in known:
            raise ValueError(f"must be one of {', '.join(known)}")
        return device_type

    @property
    def everything(self) -> bool:
        """Whether it is about all devices."""
        return self.device_type is None and self.region is None and self.device is None

    @property
    def rank(self) -> tuple[int, bool, bool]:
        """How special it is; of two scopes that fit a device the one with the higher rank wins.

        A device's own id or pattern comes before all else, of two patterns the one with more
        characters that are no `*` or `?`; then the device type, then the region.
        """
        literal = 0 if self.device is None else 1 + len(re.sub(r"[*?]", "", self.device))
        return literal, self.device_type is not None, self.region is not None

    def fits(self, device_id: str, device_type: str, region: str | None) -> bool:
        """Tells whether a device belongs to it."""
        return (
            (self.device_type is None or self.device_type == device_type)
            and (self.region is None or self.region == region)
            and (self.device is None or self._pattern.fullmatch(device_id) is not None)
        )

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        parts = re.split(r"([*?])", self.device or "")
        meaning = {"*": ".*", "?": "."}
        return re.compile("".join(meaning.get(part, re.escape(part)) for part in parts))
