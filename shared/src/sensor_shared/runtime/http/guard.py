"""The way from a credential to a caller who may do what the operation does, and may do it now."""

import copy
import inspect
from collections.abc import Callable, Coroutine, Sequence
from typing import Annotated, Any, Final, Self

from fastapi import Depends, Request, Response, params
from fastapi.routing import APIRoute
from fastapi.security import APIKeyHeader, HTTPBearer, SecurityScopes
from starlette.exceptions import HTTPException

from sensor_shared.adapters.api_keys import KeyCheck
from sensor_shared.adapters.sessions import SessionCheck
from sensor_shared.adapters.tokens import InvalidTokenError, TokenVerifier
from sensor_shared.contracts.access import Action, Claims
from sensor_shared.contracts.api_keys import PREFIX
from sensor_shared.runtime.function import Scope
from sensor_shared.runtime.http.limits import Limits
from sensor_shared.runtime.http.query import check_repeated

BEARER: Final = "bearer"
API_KEY: Final = "apiKey"
API_KEY_HEADER: Final = "X-API-Key"
_BEARER = HTTPBearer(
    scheme_name=BEARER,
    bearerFormat="JWT",
    description="An access token, or an API key (`twk_…`).",
    auto_error=False,
)
_API_KEY = APIKeyHeader(
    scheme_name=API_KEY,
    name=API_KEY_HEADER,
    description="An API key (`twk_…`) of a machine; it may as well be sent as a bearer token.",
    auto_error=False,
)
_API_KEY_HEADER: Final = API_KEY_HEADER.lower().encode()
_ADMITTED: Final = "twinup_admitted"


class Guard:
    """Dependency of every operation that needs a caller: `Security(guard, scopes=[action])`.

    It is solved before parameters are validated, and by a `GuardedRoute` before the body is read,
    so a request without a good token or key learns nothing but that. The scopes stand in the
    operation's `security` in OpenAPI, where the test of the permission table reads them.

    Args:
        verifier: of access tokens.
        sessions: tells whether a token's session stands.
        keys: of API keys.
        limits: of requests, per client address and per user or key.
    """

    scheme = _BEARER

    def __init__(
        self, verifier: TokenVerifier, sessions: SessionCheck, *, keys: KeyCheck, limits: Limits
    ):
        self._verifier = verifier
        self._sessions = sessions
        self._keys = keys
        self._limits = limits
        self._cost = 1
        self._policy = "user"

    def costing(self, cost: int, *, policy: str = "user") -> Self:
        """Returns the guard of an operation that is dearer than a plain read.

        Args:
            cost: tokens that one request takes; 1 is a read of one value.
            policy: `export` for what runs long: exports and streams.
        """
        made = copy.copy(self)
        made._cost, made._policy = cost, policy  # noqa: SLF001
        return made

    async def __call__(
        self,
        request: Request,
        scopes: SecurityScopes,
        _bearer: Annotated[object, Depends(_BEARER)],
        _api_key: Annotated[object, Depends(_API_KEY)],
    ) -> Claims:
        """Returns who calls: see `admit`; what comes twice in the query is looked at after that."""
        admitted: tuple[Guard, Claims] | None = request.scope.get(_ADMITTED)
        if admitted is not None and admitted[0] is self:
            claims = admitted[1]
        else:
            claims = await self.admit(request.scope, [Action(scope) for scope in scopes.scopes])
        check_repeated(request)
        return claims

    async def admit(self, scope: Scope, actions: Sequence[Action]) -> Claims:
        """Returns who calls.

        Args:
            scope: of the request; what was taken from the buckets is noted in it.
            actions: all of them are needed; none: nobody may.

        Raises:
            HTTPException: 401 without a token of ours whose session stands, and without a key that
                is good; 403 when the permission table or the key's scopes do not let the caller do
                it; 429 when the address, user or key asks too often.
            DatabaseAwayError: when nobody can tell whether the session stands.
        """
        address = self._limits.of_address(scope)
        self._limits.refuse(scope, address)
        # The address pays in the same moment, and however this ends.
        begun = self._limits.begin([address])
        try:
            claims = await self._claims(scope)
        except Exception:
            await self._limits.settle(scope, begun)
            raise
        # Not before: a token of an ended session takes nothing from its owner.
        caller = self._limits.of_caller(claims, cost=self._cost, policy=self._policy)
        await self._limits.settle(scope, [*begun, *self._limits.begin([caller])])
        if not actions or not all(claims.may(action) for action in actions):
            raise _forbidden(claims, actions)
        return claims

    async def _claims(self, scope: Scope) -> Claims:
        credentials = _credentials(scope)
        if len(credentials) > 1:
            raise _refused("more than one credential")
        if not credentials:
            raise HTTPException(
                401,
                "a bearer token or an API key is needed",
                headers={"WWW-Authenticate": "Bearer"},
            )
        [(is_key, text)] = credentials
        try:
            claims = await (self._keys.verify(text) if is_key else self._verifier.verify(text))
        except InvalidTokenError as error:
            raise _refused(str(error)) from error
        if not claims.by_key and not await self._sessions.stands(claims.session):
            raise _refused("the session has ended")
        return claims


def _credentials(scope: Scope) -> list[tuple[bool, str]]:
    """Returns each credential of a request: whether it is an API key, and its text."""
    found = []
    for name, value in scope["headers"]:
        if name == b"authorization":
            scheme, _, text = value.decode("latin-1").partition(" ")
            text = text.strip()
            if scheme.lower() == BEARER and text:
                found.append((text.startswith(PREFIX), text))
        elif name == _API_KEY_HEADER:
            found.append((True, value.decode("latin-1").strip()))
    return found


class GuardedRoute(APIRoute):
    """Route class of routers with operations that take a body: the token comes first.

    FastAPI reads and decodes a body before it solves dependencies, so that a stranger would learn
    that his JSON is broken, or make it be read.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Returns the handler with what the operation's guard says before it."""
        handler = super().get_route_handler()
        guarded = _guard_of(self)
        if guarded is None:
            return handler
        guard, actions = guarded

        async def admitting(request: Request) -> Response:
            # Of this request alone: what a server keeps as its state may be that of a connection,
            # as hypercorn's is, and the next request on it may be somebody else's.
            admitted = (guard, await guard.admit(request.scope, actions))
            request.scope[_ADMITTED] = admitted
            return await handler(request)

        return admitting


def _guard_of(route: APIRoute) -> tuple[Guard, Sequence[Action]] | None:
    found = list(route.dependencies)
    for parameter in inspect.signature(route.endpoint).parameters.values():
        found += getattr(parameter.annotation, "__metadata__", ())
    for part in found:
        if isinstance(part, params.Security) and isinstance(part.dependency, Guard):
            return part.dependency, [Action(scope) for scope in part.scopes or ()]
    return None


def _refused(reason: str) -> HTTPException:
    challenge = f'Bearer error="invalid_token", error_description="{reason}"'
    return HTTPException(401, reason, headers={"WWW-Authenticate": challenge})


def _forbidden(claims: Claims, actions: Sequence[Action]) -> HTTPException:
    missing = sorted(set(actions) - claims.scopes) if claims.scopes is not None else []
    if missing:
        who = f"an API key without the scope {', '.join(missing)}"
    else:
        who = f"an API key of role {claims.role}" if claims.by_key else f"role {claims.role}"
    challenge = f'Bearer error="insufficient_scope", scope="{" ".join(actions)}"'
    return HTTPException(403, f"{who} may not do this", headers={"WWW-Authenticate": challenge})
