"""What the REST operations take and answer."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from sensor_shared.contracts.access import Action, Role

Text = Annotated[str, Field(min_length=1)]
Password = Annotated[
    str, Field(min_length=1, max_length=256, examples=["correct horse battery staple"])
]
NewPassword = Annotated[
    str,
    Field(
        min_length=8,
        max_length=256,
        examples=["correct horse battery staple"],
        description="of 12 characters or more, unless the service is told otherwise",
    ),
]
SessionId = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9.-]{1,64}$",
        examples=["5f0c3e9a1b2d.01981b6e-7d3a-7c21-9f4e-2a6b8c0d1e2f"],
    ),
]


class Login(BaseModel):
    """Name and password."""

    model_config = ConfigDict(extra="forbid")

    username: Annotated[str, Field(min_length=1, max_length=64, examples=["admin"])]
    password: Password


class Refresh(BaseModel):
    """A refresh token; it can be used once."""

    model_config = ConfigDict(extra="forbid")

    refresh_token: Annotated[str, Field(min_length=1, max_length=4096, examples=["eyJhbGciOi…"])]


class TokenPair(BaseModel):
    """What a login or a refresh yields."""

    access_token: Text = Field(
        examples=["eyJhbGciOi…"], description="sent as `Authorization: Bearer …`"
    )
    refresh_token: Text = Field(examples=["eyJhbGciOi…"], description="opens /auth/refresh, once")
    expires_in: int = Field(gt=0, description="life of the access token, seconds", examples=[900])
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105


class PasswordChange(BaseModel):
    """The password that holds, and the one that is to hold."""

    model_config = ConfigDict(extra="forbid")

    old_password: Password
    new_password: NewPassword


class SessionView(BaseModel):
    """One login that still stands."""

    id: SessionId
    created_at: datetime
    last_used_at: datetime = Field(description="the login or the last refresh")
    address: str = Field(examples=["192.0.2.1"], description="of the last use")
    user_agent: str = Field(examples=["Mozilla/5.0"], description="of the last use")
    current: bool = Field(description="true for the session of this request")


class SessionList(BaseModel):
    """The sessions of a user, the one used last first."""

    sessions: list[SessionView]


class Ended(BaseModel):
    """How many sessions ended."""

    ended: int = Field(ge=0, examples=[2])


class Verified(BaseModel):
    """What a good access token says."""

    username: Text = Field(examples=["anna"])
    role: Role
    session: Text = Field(description="ends with a logout")
    expires_at: int = Field(description="seconds since the epoch", examples=[1_795_000_000])


class Profile(BaseModel):
    """The caller's account."""

    username: Text = Field(examples=["anna"])
    role: Role
    email: str = Field(examples=["anna@example.com"])
    created_at: datetime
    permissions: list[Action] = Field(description="what the role may do")


class RolePermissions(BaseModel):
    """The permission table, by role."""

    roles: dict[Role, list[Action]]


class JsonWebKey(BaseModel):
    """An Ed25519 public key (RFC 8037)."""

    kty: Literal["OKP"]
    crv: Literal["Ed25519"]
    x: Text
    kid: Text
    use: Literal["sig"]
    alg: Literal["EdDSA"]


class JsonWebKeySet(BaseModel):
    """The keys that tokens are checked with (RFC 7517)."""

    keys: list[JsonWebKey]


class Health(BaseModel):
    """Whether logins can be served."""

    status: Literal["ok", "unavailable"]
