"""What people do with their account: log in, carry on, log out."""

from sensor_auth.attempts import Attempts
from sensor_auth.domain import InvalidCredentialsError, SessionEndedError, Tokens, User
from sensor_auth.passwords import Passwords
from sensor_auth.sessions import Sessions
from sensor_auth.tokens import Issuer, new_token_id
from sensor_auth.users import Users
from sensor_shared.adapters.database import DatabaseAwayError
from sensor_shared.adapters.tokens import InvalidTokenError, TokenVerifier
from sensor_shared.contracts.access import Claims
from sensor_shared.contracts.events import new_id
from sensor_shared.telemetry.logs import logger


class Accounts:
    """Brings users, passwords, attempts, sessions and tokens together.

    Args:
        users: the accounts.
        passwords: checks them.
        attempts: counts failures.
        sessions: the sessions.
        issuer: signs tokens.
        refresh_tokens: checks refresh tokens.
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
    ):
        self._users = users
        self._passwords = passwords
        self._attempts = attempts
        self._sessions = sessions
        self._issuer = issuer
        self._refresh_tokens = refresh_tokens
        self._log = logger(part="accounts")

    async def log_in(self, username: str, password: str, address: str) -> Tokens:
        """Opens a session.

        Every failure takes the same steps: a lookup, a hash, one answer.

        Raises:
            LockedError: after too many failures of this user from this address.
            InvalidCredentialsError: for any other failure.
            BusyError, DatabaseAwayError: try again later.
        """
        await self._attempts.take(username, address)
        user = await self._users.find(username)
        right = await self._passwords.verify(user.password_hash if user else None, password)
        if user is None or not right or user.disabled:
            self._log.info("login failed", username=username, address=address)
            raise InvalidCredentialsError
        await self._attempts.forget(username, address)
        if self._passwords.outdated(user.password_hash):
            await self._rehash(user, password)
        session, refresh_id = new_id(), new_token_id()
        await self._sessions.open(session, username, refresh_id)
        self._log.info("login", username=username, address=address, session=session)
        return self._tokens(user, session, refresh_id)

    async def refresh(self, refresh_token: str) -> Tokens:
        """Carries a session on; the refresh token is used up.

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
        new = new_token_id()
        await self._sessions.rotate(claims.session, claims.subject, claims.token_id, new)
        return self._tokens(user, claims.session, new)

    async def log_out(self, claims: Claims) -> None:
        """Ends the session; its tokens are good for nothing from now on.

        Raises:
            UnavailableError: when that is not sure yet.
        """
        await self._sessions.end(claims.session, claims.subject, "logout")
        self._log.info("logout", username=claims.subject, session=claims.session)

    async def profile(self, claims: Claims) -> User | None:
        """Returns the caller's account.

        Raises:
            DatabaseAwayError: try again later.
        """
        return await self._users.find(claims.subject)

    def _tokens(self, user: User, session: str, refresh_id: str) -> Tokens:
        return Tokens(
            access_token=self._issuer.access(user, session),
            refresh_token=self._issuer.refresh(user, session, refresh_id),
            expires_in=self._issuer.access_seconds,
        )

    async def _rehash(self, user: User, password: str) -> None:
        try:
            await self._users.save(user.rehashed(await self._passwords.hash(password)))
        except DatabaseAwayError as error:
            self._log.warning("hash left at its old cost", error=str(error))
