"""What the operations on API keys take and answer."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, WithJsonSchema

from sensor_shared.contracts.access import FOR_MACHINES, Action
from sensor_shared.contracts.api_keys import KEY_PATTERN


def _for_machines(action: Action) -> Action:
    if action not in FOR_MACHINES:
        raise ValueError("no API key may do this")
    return action


MachineAction = Annotated[
    Action,
    AfterValidator(_for_machines),
    WithJsonSchema({"type": "string", "enum": sorted(FOR_MACHINES)}),
]
KeyName = Annotated[
    str, Field(pattern=r"^[^\x00-\x1f\x7f]{1,64}$", examples=["dashboard of plant 3"])
]


class NewKey(BaseModel):
    """An API key that is wanted."""

    model_config = ConfigDict(extra="forbid")

    name: KeyName
    scopes: Annotated[list[MachineAction], Field(min_length=1, max_length=len(Action))]
    expires_at: Annotated[
        AwareDatetime | None,
        Field(description="default: in 90 days; the service has a maximum, 365 days by default"),
    ] = None


class KeyInfo(BaseModel):
    """An API key, without the key."""

    id: str = Field(examples=["3pXn0Zq8wT1mB6cK"])
    name: str
    owner: str = Field(description="user name")
    scopes: list[Action] = Field(
        description="what it may do, as long as the owner's role may do it too"
    )
    created_at: datetime
    expires_at: datetime
    status: Literal["active", "expired", "revoked"]
    last_used_at: datetime | None = Field(
        default=None, description="to a minute or so; null: never, or not known"
    )


class MadeKey(KeyInfo):
    """A new API key; this is the only time that `key` is shown."""

    key: str = Field(pattern=f"^{KEY_PATTERN}$", description="sent as `X-API-Key`")


class KeyPage(BaseModel):
    """Keys, ordered by id."""

    items: list[KeyInfo]
    next: str | None = Field(description="`after` of the next page; null: this is the last")
