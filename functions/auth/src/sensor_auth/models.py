"""What the REST operations take and answer."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from sensor_shared.contracts.access import Action, Role

Text = Annotated[str, Field(min_length=1)]


class Login(BaseModel):
    """Name and password."""

    model_config = ConfigDict(extra="forbid")

    username: Annotated[str, Field(min_length=1, max_length=64, examples=["admin"])]
    password: Annotated[
        str, Field(min_length=1, max_length=256, examples=["correct horse battery staple"])
    ]


class Refresh(BaseModel):
    """A refresh token; it can be used once."""

    model_config = ConfigDict(extra="forbid")

    refresh_token: Annotated[str, Field(min_length=1, max_length=4096, examples=["eyJhbGciOi…"])]


class TokenPair(BaseModel):
    """What a login or a refresh yields."""

    access_token: Text = Field(description="sent as `Authorization: Bearer …`")
    refresh_token: Text = Field(description="opens /auth/refresh, once")
    expires_in: int = Field(gt=0, description="life of the access token, seconds", examples=[900])
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105


class Verified(BaseModel):
    """What a good access token says."""

    username: Text
    role: Role
    session: Text = Field(description="ends with a logout")
    expires_at: int = Field(description="seconds since the epoch", examples=[1_795_000_000])


class Profile(BaseModel):
    """The caller's account."""

    username: Text
    role: Role
    email: str
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
