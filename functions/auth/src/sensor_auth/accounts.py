"""What people do with their account: log in, carry on, log out, change the password."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sensor_auth.attempts import Attempt, Attempts
from sensor_auth.domain import (
    BusyError,
    Client,
    ConflictError,
    InvalidCredentialsError,
    LockedError,
    SecurityEvent,
    Session,
    SessionEndedError,
    Tokens,
    UnavailableError,
    UnknownError,
    User,
    WeakPasswordError,
    WrongPasswordError,
    is_username,
)
from sensor_auth.passwords import Passwords
from sensor_auth.security_log import SecurityLog
from sensor_auth.sessions import Sessions
from sensor_auth.tokens import Issuer, new_token_id
from sensor_auth.users import Users
from sensor_shared.adapters.database import DatabaseAwayError
from sensor_shared.adapters.tokens import InvalidTokenError, TokenVerifier
from sensor_shared.contracts.access import Claims
from sensor_shared.telemetry.logs import logger

_NO_NAME = "(no user name)"
"""Stands in the log for what no user can be called: it may be a password in the wrong field."""


class Accounts:
    """Brings users, passwords, attempts, sessions and tokens together.

    Args:
        users: the accounts.
        passwords: checks them.
        attempts: counts failures.
        sessions: the sessions.
        issuer: signs tokens.
        refresh_tokens: checks refresh tokens.
        security: is told what happens.
    """

    def __init__(
        self,
        *,
        users: Users,
        passwords: Passwords,
        attempts: Attempts,
        sessions: Sessions,
        issuer: Issuer,
        refresh_tokens: TokenVerifier,
        security: SecurityLog,
    ):
        self._users = users
        self._passwords = passwords
        self._attempts = attempts
        self._sessions = sessions
        self._issuer = issuer
        self._refresh_tokens = refresh_tokens
        self._security = security
        self._log = logger(part="accounts")

    async def log_in(self, username: str, password: str, client: Client) -> Tokens:
        """Opens a session.

        Every failure takes the same steps: a lookup, a hash, one answer.

        Raises:
            LockedError: after too many failures.
            InvalidCredentialsError: for any other failure.
            BusyError, DatabaseAwayError: try again later.
        """
        shown = username if is_username(username) else _NO_NAME
        async with self._attempt(username, shown, client, SecurityEvent.LOGIN_LOCKED) as attempt:
            user = await self._users.find(username)
            right = await self._passwords.verify(user.password_hash if user else None, password)
            if user is None or not right or user.disabled:
                why = "disabled" if user and right else "wrong password" if user else "unknown user"
                self._security.record(
                    SecurityEvent.LOGIN_FAILED, username=shown, address=client.address, detail=why
                )
                raise InvalidCredentialsError
            attempt.right = True
        if self._passwords.outdated(user.password_hash):
            user = await self._rehashed(user, password)
        refresh_id = new_token_id()
        session, ended = await self._sessions.open(user, refresh_id, client)
        self._security.record(
            SecurityEvent.LOGIN_OK,
            username=username,
            actor=username,
            address=client.address,
            session=session,
            detail=client.agent,
        )
        for old in ended:
            self._security.record(
                SecurityEvent.SESSION_ENDED, username=username, session=old, detail="limit"
            )
        return self._tokens(user, session, refresh_id)

    async def refresh(self, refresh_token: str, client: Client) -> Tokens:
        """Carries a session on; the refresh token is used up.

        Used once more within a few seconds, it yields the refresh token that the first answer
        had: that answer may have been lost. Later it ends the session.

        Raises:
            SessionEndedError: when the token opens nothing (any more).
            UnavailableError, DatabaseAwayError: try again later.
        """
        try:
            claims = await self._refresh_tokens.verify(refresh_token)
        except InvalidTokenError as error:
            raise SessionEndedError from error
        user = await self._users.find(claims.subject)
        if user is None or user.disabled:
            await self._sessions.end(claims.session, claims.subject, "disabled")
            raise SessionEndedError
        try:
            token_id, repeated = await self._sessions.rotate(
                claims.session, claims.subject, claims.token_id, new_token_id(), client
            )
        except SessionEndedError as error:
            if error.reused:
                self._tell(SecurityEvent.REFRESH_REUSED, claims, client, "the session has ended")
            raise
        if repeated:
            self._tell(SecurityEvent.REFRESH_REPEATED, claims, client)
        return self._tokens(user, claims.session, token_id)

    async def log_out(self, claims: Claims, client: Client) -> None:
        """Ends the session; its tokens are good for nothing from now on.

        Raises:
            UnavailableError: when that is not sure yet.
        """
        await self._sessions.end(claims.session, claims.subject, "logout")
        self._tell(SecurityEvent.SESSION_ENDED, claims, client, "logout")

    async def log_out_everywhere(self, claims: Claims, client: Client) -> int:
        """Ends all sessions of the caller and returns how many.

        Raises:
            UnavailableError: when that is not sure yet.
        """
        ended = await self._sessions.end_all(claims.subject, "logout")
        self._tell(SecurityEvent.SESSIONS_ENDED, claims, client, f"{len(ended)} by logout")
        return len(ended)

    async def sessions(self, claims: Claims) -> list[Session]:
        """Returns the caller's sessions.

        Raises:
            UnavailableError: when Redis is away.
        """
        return await self._sessions.standing(claims.subject)

    async def end_session(self, claims: Claims, session: str, client: Client) -> None:
        """Ends one of the caller's sessions.

        Raises:
            UnknownError: when the caller has no such session.
            UnavailableError: when that is not sure yet.
        """
        if session not in {one.session for one in await self.sessions(claims)}:
            raise UnknownError("no such session")
        await self._sessions.end(session, claims.subject, "ended")
        self._security.record(
            SecurityEvent.SESSION_ENDED,
            username=claims.subject,
            actor=claims.subject,
            address=client.address,
            session=session,
            detail="by its owner",
        )

    async def change_password(self, claims: Claims, old: str, new: str, client: Client) -> None:
        """Sets another password and ends the caller's other sessions.

        Raises:
            WeakPasswordError: when the new one is no good.
            LockedError: after too many failures.
            WrongPasswordError: when the old one is wrong.
            SessionEndedError: when the account is gone.
            ConflictError: when the account is changed by somebody else at the same time.
            UnavailableError, DatabaseAwayError: try again later.
        """
        username = claims.subject
        self._passwords.check_new(new, username)
        if new == old:
            raise WeakPasswordError("it is the old one")
        await self._sessions.must_answer()
        async with self._attempt(
            username, username, client, SecurityEvent.PASSWORD_REFUSED
        ) as attempt:
            user = await self._users.stored(username)
            if user is None or not user.active:
                raise SessionEndedError
            if not await self._passwords.verify(user.password_hash, old):
                self._tell(SecurityEvent.PASSWORD_REFUSED, claims, client, "wrong password")
                raise WrongPasswordError
            attempt.right = True
        changed = user.rehashed(await self._passwords.hash(new))
        await self._users.save(changed)
        self._tell(SecurityEvent.PASSWORD_CHANGED, claims, client)
        try:
            await self._sessions.end_all(
                username, "password", but=claims.session, before=changed.version
            )
        except UnavailableError as error:
            raise UnavailableError(
                "the password is changed, but it is not sure that the other sessions have ended: "
                "log out everywhere"
            ) from error

    async def profile(self, claims: Claims) -> User | None:
        """Returns the caller's account.

        Raises:
            DatabaseAwayError: try again later.
        """
        return await self._users.find(claims.subject)

    @asynccontextmanager
    async def _attempt(
        self, username: str, shown: str, client: Client, refused: SecurityEvent
    ) -> AsyncIterator[Attempt]:
        try:
            async with self._attempts.attempt(username, client.address) as attempt:
                yield attempt
        except LockedError as error:
            self._security.record(
                refused, username=shown, address=client.address, detail=f"too many: {error.by}"
            )
            raise

    def _tell(self, event: SecurityEvent, claims: Claims, client: Client, detail: str = "") -> None:
        self._security.record(
            event,
            username=claims.subject,
            actor=claims.subject,
            address=client.address,
            session=claims.session,
            detail=detail,
        )

    def _tokens(self, user: User, session: str, refresh_id: str) -> Tokens:
        return Tokens(
            access_token=self._issuer.access(user, session),
            refresh_token=self._issuer.refresh(user, session, refresh_id),
            expires_in=self._issuer.access_seconds,
        )

    async def _rehashed(self, user: User, password: str) -> User:
        try:
            changed = user.rehashed(await self._passwords.hash(password))
            await self._users.save(changed)
        except (DatabaseAwayError, ConflictError, BusyError) as error:
            self._log.warning("hash left at its old cost", error=str(error))
            return user
        return changed
