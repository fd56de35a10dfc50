"""The way from an Authorization header to a caller who may do what the operation does."""

import inspect
from collections.abc import Callable, Coroutine, Sequence
from typing import Annotated, Any

from fastapi import Depends, Request, Response, params
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer, SecurityScopes
from starlette.exceptions import HTTPException

from sensor_shared.adapters.sessions import SessionCheck
from sensor_shared.adapters.tokens import InvalidTokenError, TokenVerifier
from sensor_shared.contracts.access import Action, Claims

_BEARER = HTTPBearer(
    scheme_name="bearer", bearerFormat="JWT", description="An access token.", auto_error=False
)
_ADMITTED = "twinup_admitted"


class Guard:
    """Dependency of every operation that needs a token: `Security(guard, scopes=[action])`.

    It is solved before parameters are validated, and by a `GuardedRoute` before the body is read,
    so a request without a good token learns nothing but that. The scopes stand in the operation's
    `security` in OpenAPI, where the test of the permission table reads them.
    """

    def __init__(self, verifier: TokenVerifier, sessions: SessionCheck):
        self._verifier = verifier
        self._sessions = sessions

    async def __call__(
        self,
        request: Request,
        scopes: SecurityScopes,
        _scheme: Annotated[object, Depends(_BEARER)],
    ) -> Claims:
        """Returns who calls.

        Raises:
            HTTPException: 401 without a token of ours whose session stands; 403 when the
                permission table does not let the role do it.
            DatabaseAwayError: when nobody can tell whether the session stands.
        """
        admitted: tuple[Guard, Claims] | None = getattr(request.state, _ADMITTED, None)
        if admitted is not None and admitted[0] is self:
            return admitted[1]
        return await self.admit(request, scopes.scopes)

    async def admit(self, request: Request, scopes: Sequence[str]) -> Claims:
        """Returns who calls, for what these scopes name.

        Raises:
            HTTPException, DatabaseAwayError: as a call.
        """
        claims = await self._authenticate(request.headers.get("authorization"))
        actions = [Action(scope) for scope in scopes]
        if not actions or not all(claims.may(action) for action in actions):
            raise HTTPException(
                403,
                f"role {claims.role} may not do this",
                headers={
                    "WWW-Authenticate": f'Bearer error="insufficient_scope", '
                    f'scope="{" ".join(scopes)}"'
                },
            )
        return claims

    async def _authenticate(self, authorization: str | None) -> Claims:
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise HTTPException(
                401, "a bearer token is needed", headers={"WWW-Authenticate": "Bearer"}
            )
        try:
            claims = await self._verifier.verify(token.strip())
        except InvalidTokenError as error:
            raise _refused(str(error)) from error
        if not await self._sessions.stands(claims.session):
            raise _refused("the session has ended")
        return claims


class GuardedRoute(APIRoute):
    """Route class of routers with operations that take a body: the token comes first.

    FastAPI reads and decodes a body before it solves dependencies, so that a stranger would learn
    that his JSON is broken, or make it be read.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Returns the handler with what the operation's guard says before it."""
        handler = super().get_route_handler()
        guarded = _guard_of(self.endpoint)
        if guarded is None:
            return handler
        guard, scopes = guarded

        async def admitting(request: Request) -> Response:
            setattr(request.state, _ADMITTED, (guard, await guard.admit(request, scopes)))
            return await handler(request)

        return admitting


def _guard_of(endpoint: Callable[..., Any]) -> tuple[Guard, Sequence[str]] | None:
    for parameter in inspect.signature(endpoint).parameters.values():
        for part in getattr(parameter.annotation, "__metadata__", ()):
            if isinstance(part, params.Security) and isinstance(part.dependency, Guard):
                return part.dependency, list(part.scopes or ())
    return None


def _refused(reason: str) -> HTTPException:
    challenge = f'Bearer error="invalid_token", error_description="{reason}"'
    return HTTPException(401, reason, headers={"WWW-Authenticate": challenge})
