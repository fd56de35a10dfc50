"""What auth is about: users, what a login yields, and the ways in which it fails."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from sensor_shared.contracts.access import Role


@dataclass(frozen=True, slots=True)
class User:
    """One account; the highest version is what holds."""

    username: str
    password_hash: str
    role: Role
    email: str
    disabled: bool
    created_at: datetime
    version: int

    def rehashed(self, password_hash: str) -> "User":
        """Returns the next version, with another hash."""
        return replace(self, password_hash=password_hash, version=self.version + 1)


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a login or a refresh yields; `expires_in` is the access token's life in seconds."""

    access_token: str
    refresh_token: str
    expires_in: int


class SecurityEvent(StrEnum):
    """What the security log tells of."""

    LOGIN_OK = "login.ok"
    LOGIN_FAILED = "login.failed"
    LOGIN_LOCKED = "login.locked"
    REFRESH_REPEATED = "refresh.repeated"
    """An old refresh token again, so soon that an answer was probably lost."""
    REFRESH_REUSED = "refresh.reused"
    """An old refresh token again, later: its session has ended."""
    SESSION_ENDED = "session.ended"
    SESSIONS_ENDED = "sessions.ended"
    PASSWORD_CHANGED = "password.changed"  # noqa: S105
    PASSWORD_REFUSED = "password.refused"  # noqa: S105
    PASSWORD_RESET = "password.reset"  # noqa: S105
    USER_CREATED = "user.created"
    USER_CHANGED = "user.changed"
    USER_DELETED = "user.deleted"
    KEYS_CHANGED = "keys.changed"


class InvalidCredentialsError(Exception):
    """Unknown user, wrong password or disabled account: never told which."""


class LockedError(Exception):
    """Too many failures; `seconds` until the next try counts."""

    def __init__(self, seconds: int):
        super().__init__(f"locked for {seconds} s")
        self.seconds = seconds


class SessionEndedError(Exception):
    """The refresh token opens nothing (any more)."""


class BusyError(Exception):
    """More is asked for than can be computed now."""


class UnavailableError(Exception):
    """A part that is needed for this cannot be reached; the message names it."""
