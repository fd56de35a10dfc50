"""What the REST operations for admins take and answer."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from sensor_auth.domain import USERNAME, RecordedEvent, SecurityEvent, User
from sensor_auth.models import NewPassword, Text
from sensor_shared.contracts.access import Role

Username = Annotated[
    str,
    Field(
        pattern=USERNAME,
        examples=["anna"],
        description="letters a to z, digits and `. _ @ + -`, a letter or a digit first",
    ),
]
Email = Annotated[
    str,
    Field(
        max_length=254,
        pattern=r"^([^@\s\x00-\x1f\x7f]+@[^@\s\x00-\x1f\x7f]+)?$",
        examples=["anna@example.com"],
        description="empty: none",
    ),
]
Wanted = Annotated[str | None, Field(min_length=1, max_length=64)]


class NewUser(BaseModel):
    """A user to create. Without a password one is made, and shown once in the answer."""

    model_config = ConfigDict(extra="forbid")

    username: Username
    role: Role
    email: Email = ""
    password: NewPassword | None = None


class UserChange(BaseModel):
    """What is to change; the rest stays as it is."""

    model_config = ConfigDict(extra="forbid")

    role: Role | None = None
    email: Email | None = None
    disabled: bool | None = None


class PasswordReset(BaseModel):
    """A password for a user; without one it is made, and shown once in the answer."""

    model_config = ConfigDict(extra="forbid")

    password: NewPassword | None = None


class UserView(BaseModel):
    """One account."""

    username: Text = Field(examples=["anna"])
    role: Role
    email: str = Field(examples=["anna@example.com"])
    disabled: bool
    created_at: datetime

    @classmethod
    def of(cls, user: User) -> Self:
        """Returns what admins see of a user."""
        return cls(
            username=user.username,
            role=user.role,
            email=user.email,
            disabled=user.disabled,
            created_at=user.created_at,
        )


class CreatedUser(UserView):
    """One account, just created."""

    password: str | None = Field(description="the one that was made; it is shown only now")


class ShownPassword(BaseModel):
    """What a reset yields."""

    password: str | None = Field(description="the one that was made; it is shown only now")


class UserPage(BaseModel):
    """Accounts in the order of their names."""

    users: list[UserView]
    next_cursor: str | None = Field(
        examples=[None], description="asks for the next page; null: this is the last"
    )


class EventFilter(BaseModel):
    """Which events are wanted; what is not given does not matter."""

    since: AwareDatetime | None = Field(None, alias="from")
    until: AwareDatetime | None = Field(None, alias="to", description="not included")
    event: SecurityEvent | None = None
    username: Wanted = Field(None, description="whom it is about")
    actor: Wanted = Field(None, description="who did it")
    address: Wanted = Field(None, examples=["192.0.2.1"])
    limit: int = Field(100, ge=1, le=1_000, description="most entries of a page")
    cursor: str | None = Field(
        None,
        pattern=r"^[0-9]{1,13}_[0-9a-f-]{36}$",
        examples=["1795000000000_01981b6e-7d3a-7c21-9f4e-2a6b8c0d1e2f"],
        description="`next_cursor` of the page before",
    )


class EventView(BaseModel):
    """One event of the security log; texts are empty where there is nothing to tell."""

    time: datetime
    id: Text
    event: str = Field(examples=["login.failed"])
    username: str = Field(description="whom it is about")
    actor: str = Field(description="who did it")
    address: str = Field(examples=["192.0.2.1"])
    session: str
    request_id: str
    detail: str

    @classmethod
    def of(cls, event: RecordedEvent) -> Self:
        """Returns what admins see of an event."""
        return cls(
            time=event.time,
            id=event.id,
            event=event.event,
            username=event.username,
            actor=event.actor,
            address=event.address,
            session=event.session,
            request_id=event.request_id,
            detail=event.detail,
        )


class EventPage(BaseModel):
    """Events, the newest first."""

    events: list[EventView]
    next_cursor: str | None = Field(
        examples=[None], description="asks for the next page; null: this is the last"
    )
