"""Who may do what: the one table of roles and actions, and what an access token says."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

ALGORITHM: Final = "EdDSA"
"""Ed25519; nothing else is ever accepted."""
ACCESS_TOKEN: Final = "at+jwt"  # noqa: S105
"""Header `typ` of an access token (RFC 9068)."""
REFRESH_TOKEN: Final = "rt+jwt"  # noqa: S105
"""Header `typ` of a refresh token, which opens nothing but /auth/refresh."""


class Role(StrEnum):
    """What a user is."""

    ADMIN = "admin"
    USER = "user"
    READONLY = "readonly"


class Action(StrEnum):
    """What an operation of an API does; the scopes of its `security` in OpenAPI."""

    DEVICES_READ = "devices:read"
    READINGS_READ = "readings:read"
    REJECTS_READ = "rejects:read"
    PROFILE_READ = "profile:read"
    SESSION_END = "session:end"
    ROLES_READ = "roles:read"


_EVERYBODY = frozenset(Role)

PERMISSIONS: Final[Mapping[Action, frozenset[Role]]] = MappingProxyType(
    {
        Action.DEVICES_READ: _EVERYBODY,
        Action.READINGS_READ: _EVERYBODY,
        Action.REJECTS_READ: frozenset({Role.ADMIN}),
        Action.PROFILE_READ: _EVERYBODY,
        Action.SESSION_END: _EVERYBODY,
        Action.ROLES_READ: frozenset({Role.ADMIN}),
    }
)
"""The roles that may take an action; code, tests and documents read this table."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token that was verified says.

    Attributes:
        subject: the user's name (`sub`).
        role: the user's role when the token was issued.
        session: id of the login that it belongs to (`sid`); what is revoked is a session.
        token_id: unique for ever (`jti`).
        issued_at: seconds since the epoch (`iat`).
        expires_at: seconds since the epoch (`exp`).
    """

    subject: str
    role: Role
    session: str
    token_id: str
    issued_at: int
    expires_at: int

    def may(self, action: Action) -> bool:
        """Tells whether the table lets the bearer do it."""
        return self.role in PERMISSIONS[action]
