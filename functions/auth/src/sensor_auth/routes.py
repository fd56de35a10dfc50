"""The REST operations of auth: thin, everything is decided in `accounts`."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Request, Response, Security
from starlette.exceptions import HTTPException

from sensor_auth.accounts import Accounts
from sensor_auth.domain import (
    BusyError,
    InvalidCredentialsError,
    LockedError,
    SessionEndedError,
    Tokens,
    UnavailableError,
)
from sensor_auth.models import (
    Health,
    JsonWebKeySet,
    Login,
    Profile,
    Refresh,
    RolePermissions,
    TokenPair,
    Verified,
)
from sensor_shared.adapters.database import DatabaseAwayError
from sensor_shared.contracts.access import PERMISSIONS, Action, Claims, Role
from sensor_shared.runtime.http.address import client_address
from sensor_shared.runtime.http.guard import Guard
from sensor_shared.runtime.http.limits import Limits
from sensor_shared.runtime.http.problems import responses
from sensor_shared.telemetry import metrics

TAGS = [
    {"name": "session", "description": "Log in, carry on, log out."},
    {"name": "account", "description": "Who one is, and what one may do."},
    {"name": "service", "description": "Keys and health."},
]
_T = TypeVar("_T")


def session_routes(accounts: Accounts, guard: Guard, limits: Limits) -> APIRouter:
    """Returns login, refresh, logout and verify."""
    router = APIRouter(prefix="/auth", tags=["session"])

    @router.post(
        "/login",
        summary="Log in",
        dependencies=[Depends(limits.per_address("login"))],
        responses=responses(401, 429, 503),
    )
    async def login(credentials: Login, request: Request) -> TokenPair:
        """Opens a session. After five failures from one address it is locked for a while."""
        address = client_address(request.scope)
        attempt = accounts.log_in(credentials.username, credentials.password, address)
        return _pair(await _counted(attempt))

    @router.post(
        "/refresh",
        summary="Carry the session on",
        dependencies=[Depends(limits.per_address("refresh"))],
        responses=responses(401, 429, 503),
    )
    async def refresh(body: Refresh) -> TokenPair:
        """Answers a new pair. The old refresh token, used once more, ends the session."""
        return _pair(await _answered(accounts.refresh(body.refresh_token)))

    @router.post("/logout", summary="End the session", status_code=204)
    async def logout(
        caller: Annotated[Claims, Security(guard, scopes=[Action.SESSION_END])],
    ) -> Response:
        """Ends the session: its access and refresh tokens are refused from now on."""
        await _answered(accounts.log_out(caller))
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
    """Returns the profile and the permission table."""
    router = APIRouter(prefix="/auth", tags=["account"])

    @router.get("/profile", summary="The caller's account", responses=responses(404))
    async def profile(
        caller: Annotated[Claims, Security(guard, scopes=[Action.PROFILE_READ])],
    ) -> Profile:
        """Answers the account as it is now; the permissions are those of the token's role."""
        user = await accounts.profile(caller)
        if user is None:
            raise HTTPException(404, "the account is gone")
        return Profile(
            username=user.username,
            role=user.role,
            email=user.email,
            created_at=user.created_at,
            permissions=_permissions(caller.role),
        )

    @router.get("/admin/roles", summary="The permission table")
    async def roles(
        _caller: Annotated[Claims, Security(guard, scopes=[Action.ROLES_READ])],
    ) -> RolePermissions:
        """Answers what each role may do."""
        return RolePermissions(roles={role: _permissions(role) for role in Role})

    return router


def service_routes(keys: dict[str, Any], ready: Callable[[], bool]) -> APIRouter:
    """Returns the public keys and health, both open.

    Args:
        keys: the JWK set.
        ready: tells whether logins can be served.
    """
    router = APIRouter(tags=["service"])

    @router.get("/.well-known/jwks.json", summary="Public keys", response_model=JsonWebKeySet)
    @router.get("/auth/jwks", summary="Public keys", include_in_schema=False)
    async def jwks(response: Response) -> dict[str, Any]:
        """Answers the keys that tokens are checked with."""
        response.headers["cache-control"] = "public, max-age=300"
        return keys

    @router.get("/health", summary="Health", responses={503: {"model": Health}})
    async def health(response: Response) -> Health:
        """Answers 503 until the users could be read for the first time."""
        if ready():
            return Health(status="ok")
        response.status_code = 503
        return Health(status="unavailable")

    return router


def _pair(tokens: Tokens) -> TokenPair:
    return TokenPair(
        access_token=tokens.access_token,
        refresh_token=tokens.refresh_token,
        expires_in=tokens.expires_in,
    )


def _permissions(role: Role) -> list[Action]:
    return [action for action, roles in PERMISSIONS.items() if role in roles]


async def _counted(attempt: Awaitable[Tokens]) -> Tokens:
    outcome = "unavailable"
    try:
        tokens = await _answered(attempt)
        outcome = "ok"
    except HTTPException as error:
        outcome = {401: "refused", 429: "locked"}.get(error.status_code, outcome)
        raise
    finally:
        metrics.LOGINS.labels(outcome).inc()
    return tokens


async def _answered(step: Awaitable[_T]) -> _T:
    try:
        return await step
    except InvalidCredentialsError as error:
        raise _challenge("wrong user name or password") from error
    except SessionEndedError as error:
        raise _challenge("the session has ended; log in again") from error
    except LockedError as error:
        retry = {"Retry-After": str(error.seconds)}
        raise HTTPException(429, "too many failed logins; try later", headers=retry) from error
    except (BusyError, UnavailableError, DatabaseAwayError) as error:
        reason = str(error) if not isinstance(error, DatabaseAwayError) else "try again later"
        raise HTTPException(503, reason, headers={"Retry-After": "1"}) from error


def _challenge(detail: str) -> HTTPException:
    return HTTPException(401, detail, headers={"WWW-Authenticate": "Bearer"})
