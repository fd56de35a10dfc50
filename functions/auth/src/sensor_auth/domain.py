"""What auth is about: users, sessions, what a login yields, and the ways in which it fails."""

import re
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from sensor_shared.contracts.access import Role

USERNAME = r"^[a-z0-9][a-z0-9._@+-]{0,63}$"
"""What a user name is. ASCII in lower case: no two names look alike, in a log or on a screen."""
_USERNAME = re.compile(USERNAME)


def is_username(text: str) -> bool:
    """Tells whether a user can have this name."""
    return _USERNAME.fullmatch(text) is not None


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
    deleted: bool = False
    """Nothing is left but the name, which nobody else gets."""

    @property
    def active(self) -> bool:
        """True when the user may log in."""
        return not self.disabled and not self.deleted

    def rehashed(self, password_hash: str) -> "User":
        """Returns the next version, with another hash."""
        return self.changed(password_hash=password_hash)

    def changed(self, **fields: Any) -> "User":
        """Returns the next version, with other values."""
        return replace(self, **fields, version=self.version + 1)

    def erased(self) -> "User":
        """Returns the last version: neither mail address nor password is left."""
        return self.changed(password_hash="", email="", disabled=True, deleted=True)


@dataclass(frozen=True, slots=True)
class Client:
    """Where a request comes from."""

    address: str
    """As limits count it: of IPv6 the /64."""
    agent: str
    """The header `User-Agent`, as far as it is harmless."""


@dataclass(frozen=True, slots=True)
class Session:
    """One login that still stands."""

    session: str
    created_at: datetime
    used_at: datetime
    """Of the login or the last refresh."""
    address: str
    """Of the login or the last refresh, as `agent`."""
    agent: str


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
    """Other signing keys."""
    KEY_CREATED = "key.created"
    """An API key, as the next."""
    KEY_REVOKED = "key.revoked"


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """One row of the security log; texts are empty where there is nothing to tell."""

    time: datetime
    id: str
    event: str
    username: str
    actor: str
    address: str
    session: str
    request_id: str
    detail: str


class InvalidCredentialsError(Exception):
    """Unknown user, wrong password or disabled account: never told which."""


class LockedError(Exception):
    """Too many failures; `seconds` until the next try counts, `by` says of whom."""

    def __init__(self, seconds: int, by: str = "user and address"):
        super().__init__(f"locked for {seconds} s")
        self.seconds = seconds
        self.by = by


class WrongPasswordError(Exception):
    """Who is logged in already does not know the password."""


class WeakPasswordError(ValueError):
    """A new password that is no good; the message says why, without it."""


class ConflictError(Exception):
    """What is asked for does not fit what there is; the message says why."""


class UnknownError(Exception):
    """There is no such thing; the message names it."""


class SessionEndedError(Exception):
    """The refresh token opens nothing (any more); `reused`: the session ended by it."""

    def __init__(self, *, reused: bool = False):
        super().__init__("the session has ended")
        self.reused = reused


class BusyError(Exception):
    """More is asked for than can be computed now."""


class UnavailableError(Exception):
    """A part that is needed for this cannot be reached; the message names it."""
