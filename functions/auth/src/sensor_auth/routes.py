"""The REST operations for everybody: thin, everything is decided in `accounts`."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from fastapi import APIRouter, Depends, Path, Response, Security
from starlette.exceptions import HTTPException

from sensor_auth.accounts import Accounts
from sensor_auth.answers import Caller, answered
from sensor_auth.domain import Session, Tokens
from sensor_auth.models import (
    Ended,
    Health,
    JsonWebKeySet,
    Login,
    PasswordChange,
    Profile,
    Refresh,
    SessionId,
    SessionList,
    SessionView,
    TokenPair,
    Verified,
)
from sensor_shared.adapters.jwks import key_set
from sensor_shared.contracts.access import PERMISSIONS, Action, Claims, Role
from sensor_shared.runtime.http.guard import Guard, GuardedRoute
from sensor_shared.runtime.http.limits import Limits
from sensor_shared.runtime.http.problems import responses
from sensor_shared.telemetry import metrics

TAGS = [
    {"name": "session", "description": "Log in, carry on, log out."},
    {"name": "account", "description": "Who one is, what one may do, and the password."},
    {"name": "administration", "description": "Users, roles and the security log, for admins."},
    {"name": "service", "description": "Keys and health."},
]


def session_routes(accounts: Accounts, guard: Guard, limits: Limits) -> APIRouter:
    """Returns login, refresh, logout, verify, and the caller's sessions."""
    router = APIRouter(prefix="/auth", tags=["session"], route_class=GuardedRoute)
    ender = Security(guard, scopes=[Action.SESSION_END])

    @router.post(
        "/login",
        summary="Log in",
        dependencies=[Depends(limits.per_address("login"))],
        responses=responses(401, 429, 503),
    )
    async def login(credentials: Login, client: Caller) -> TokenPair:
        """Opens a session. After five failures from one address it is locked for a while."""
        attempt = accounts.log_in(credentials.username, credentials.password, client)
        return _pair(await _counted(attempt))

    @router.post(
        "/refresh",
        summary="Carry the session on",
        dependencies=[Depends(limits.per_address("refresh"))],
        responses=responses(401, 429, 503),
    )
    async def refresh(body: Refresh, client: Caller) -> TokenPair:
        """Answers a new pair.

        The old refresh token, sent once more within ten seconds, yields the same new one: an
        answer may have been lost. Sent later it ends the session.
        """
        return _pair(await answered(accounts.refresh(body.refresh_token, client)))

    @router.post("/logout", summary="End the session", status_code=204)
    async def logout(caller: Annotated[Claims, ender], client: Caller) -> Response:
        """Ends the session: its access and refresh tokens are refused from now on."""
        await answered(accounts.log_out(caller, client))
        return Response(status_code=204)

    @router.post("/logout/all", summary="End all sessions")
    async def logout_everywhere(caller: Annotated[Claims, ender], client: Caller) -> Ended:
        """Ends all sessions of the caller, this one too."""
        return Ended(ended=await answered(accounts.log_out_everywhere(caller, client)))

    @router.get("/sessions", summary="The caller's sessions")
    async def list_sessions(
        caller: Annotated[Claims, Security(guard, scopes=[Action.SESSIONS_READ])],
    ) -> SessionList:
        """Answers the sessions that stand."""
        return session_list(await answered(accounts.sessions(caller)), caller)

    @router.delete(
        "/sessions/{session}", summary="End one session", status_code=204, responses=responses(404)
    )
    async def end_session(
        caller: Annotated[Claims, ender], client: Caller, session: Annotated[SessionId, Path()]
    ) -> Response:
        """Ends one of the caller's sessions."""
        await answered(accounts.end_session(caller, session, client))
        return Response(status_code=204)

    @router.post("/verify", summary="Check the access token")
    async def verify(
        caller: Annotated[Claims, Security(guard, scopes=[Action.PROFILE_READ])],
    ) -> Verified:
        """Says what the token in the header is good for; 401 when it is good for nothing."""
        return Verified(
            username=caller.subject,
            role=caller.role,
            session=caller.session,
            expires_at=caller.expires_at,
        )

    return router


def account_routes(accounts: Accounts, guard: Guard) -> APIRouter:
    """Returns the profile and the change of the password."""
    router = APIRouter(prefix="/auth", tags=["account"], route_class=GuardedRoute)

    @router.get("/profile", summary="The caller's account", responses=responses(404))
    async def profile(
        caller: Annotated[Claims, Security(guard, scopes=[Action.PROFILE_READ])],
    ) -> Profile:
        """Answers the account as it is now; the permissions are those of the token's role."""
        user = await answered(accounts.profile(caller))
        if user is None:
            raise HTTPException(404, "the account is gone")
        return Profile(
            username=user.username,
            role=user.role,
            email=user.email,
            created_at=user.created_at,
            permissions=permissions(caller.role),
        )

    @router.post(
        "/password", summary="Change the password", status_code=204, responses=responses(409, 429)
    )
    async def change_password(
        caller: Annotated[Claims, Security(guard, scopes=[Action.PASSWORD_CHANGE])],
        client: Caller,
        body: PasswordChange,
    ) -> Response:
        """Sets another password and ends the caller's other sessions.

        403 when the old password is wrong, 422 when the new one is no good.
        """
        change = accounts.change_password(caller, body.old_password, body.new_password, client)
        await answered(change)
        return Response(status_code=204)

    return router


def service_routes(
    keys: Callable[[], Mapping[str, Ed25519PublicKey]], ready: Callable[[], bool]
) -> APIRouter:
    """Returns the public keys and health, both open.

    Args:
        keys: returns those that are published now, by their ids.
        ready: tells whether logins can be served.
    """
    router = APIRouter(tags=["service"])

    @router.get("/.well-known/jwks.json", summary="Public keys", response_model=JsonWebKeySet)
    @router.get("/auth/jwks", summary="Public keys", include_in_schema=False)
    async def jwks(response: Response) -> dict[str, Any]:
        """Answers the keys that tokens are checked with; several while one replaces another."""
        response.headers["cache-control"] = "public, max-age=300"
        return key_set(keys())

    @router.get("/health", summary="Health", responses={503: {"model": Health}})
    async def health(response: Response) -> Health:
        """Answers 503 until the users could be read for the first time."""
        if ready():
            return Health(status="ok")
        response.status_code = 503
        return Health(status="unavailable")

    return router


def session_list(sessions: Sequence[Session], caller: Claims) -> SessionList:
    """Returns sessions as they are shown."""
    return SessionList(
        sessions=[
            SessionView(
                id=one.session,
                created_at=one.created_at,
                last_used_at=one.used_at,
                address=one.address,
                user_agent=one.agent,
                current=one.session == caller.session,
            )
            for one in sessions
        ]
    )


def permissions(role: Role) -> list[Action]:
    """Returns what a role may do, in the order of the table."""
    return [action for action, roles in PERMISSIONS.items() if role in roles]


def _pair(tokens: Tokens) -> TokenPair:
    return TokenPair(
        access_token=tokens.access_token,
        refresh_token=tokens.refresh_token,
        expires_in=tokens.expires_in,
    )


async def _counted(attempt: Awaitable[Tokens]) -> Tokens:
    outcome = "unavailable"
    try:
        tokens = await answered(attempt)
        outcome = "ok"
    except HTTPException as error:
        outcome = {401: "refused", 429: "locked"}.get(error.status_code, outcome)
        raise
    finally:
        metrics.LOGINS.labels(outcome).inc()
    return tokens
