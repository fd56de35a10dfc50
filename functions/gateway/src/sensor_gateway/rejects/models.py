"""What the list of rejects answers."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field


class Reject(BaseModel):
    """One reading that broke a rule of the contract, as it came."""

    received_at: datetime
    source: str = Field(examples=["twinup/producer/1"])
    event_id: str
    position: int = Field(ge=0, description="index of the reading in its event")
    reason: str = Field(examples=["humidity_range"])
    detail: str
    device_id: str | None = Field(description="null: could not be read")
    raw: str = Field(description="what came, or its beginning")
    raw_encoding: Literal["utf-8", "base64"] = Field(description="base64: it is no UTF-8 text")
    raw_bytes: int = Field(ge=0, description="of all that came")
    raw_truncated: bool


class RejectPage(BaseModel):
    """Rejects, the newest first."""

    items: list[Reject]
    next: str | None = Field(description="`cursor` of the next page; null on the last one")
