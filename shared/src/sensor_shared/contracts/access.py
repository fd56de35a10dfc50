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
    LIVE_FOLLOW = "live:follow"
    ALERTS_READ = "alerts:read"
    ALERTS_WRITE = "alerts:write"
    """Acknowledge, clear, comment."""
    SILENCES_READ = "silences:read"
    SILENCES_WRITE = "silences:write"
    REJECTS_READ = "rejects:read"
    PROFILE_READ = "profile:read"
    SESSION_END = "session:end"
    SESSIONS_READ = "sessions:read"
    PASSWORD_CHANGE = "password:change"  # noqa: S105
    ROLES_READ = "roles:read"
    USERS_READ = "users:read"
    USERS_WRITE = "users:write"
    EVENTS_READ = "events:read"
    KEYS_MANAGE = "keys:manage"


_EVERYBODY = frozenset(Role)
_OPERATORS = frozenset({Role.ADMIN, Role.USER})
_ADMINS = frozenset({Role.ADMIN})

PERMISSIONS: Final[Mapping[Action, frozenset[Role]]] = MappingProxyType(
    {
        Action.DEVICES_READ: _EVERYBODY,
        Action.READINGS_READ: _EVERYBODY,
        Action.LIVE_FOLLOW: _EVERYBODY,
        Action.ALERTS_READ: _EVERYBODY,
        Action.ALERTS_WRITE: _OPERATORS,
        Action.SILENCES_READ: _EVERYBODY,
        Action.SILENCES_WRITE: _OPERATORS,
        Action.REJECTS_READ: _ADMINS,
        Action.PROFILE_READ: _EVERYBODY,
        Action.SESSION_END: _EVERYBODY,
        Action.SESSIONS_READ: _EVERYBODY,
        Action.PASSWORD_CHANGE: _EVERYBODY,
        Action.ROLES_READ: _ADMINS,
        Action.USERS_READ: _ADMINS,
        Action.USERS_WRITE: _ADMINS,
        Action.EVENTS_READ: _ADMINS,
        Action.KEYS_MANAGE: _EVERYBODY,
    }
)
"""The roles that may take an action; code, tests and documents read this table."""

FOR_MACHINES: Final = frozenset({Action.DEVICES_READ, Action.READINGS_READ, Action.ALERTS_READ})
"""The actions that an API key can be given. What is not named here needs a person's session: a new
action is closed to keys until somebody opens it. Keys, users and sessions never are. Screens on
walls and other systems read alerts; what is done about one bears the name of who did it."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token, or an API key, that was verified says.

    Attributes:
        subject: the user's name (`sub`); of a key: its owner's.
        role: the user's role when the token was issued; of a key: its owner's role now.
        session: id of the login that it belongs to (`sid`); what is revoked is a session. Empty
            for a key, which has none.
        token_id: unique for ever (`jti`); of a key: its id.
        issued_at: seconds since the epoch (`iat`).
        expires_at: seconds since the epoch (`exp`).
        scopes: what a key was given; None for a token, which may do all that its role may.
    """

    subject: str
    role: Role
    session: str
    token_id: str
    issued_at: int
    expires_at: int
    scopes: frozenset[Action] | None = None

    @property
    def by_key(self) -> bool:
        """True for a machine with an API key, false for a person with a session."""
        return self.scopes is not None

    def may(self, action: Action) -> bool:
        """Tells whether the table lets the bearer do it; a key needs it among its scopes too."""
        if self.scopes is not None and action not in self.scopes & FOR_MACHINES:
            return False
        return self.role in PERMISSIONS[action]
