"""The way from an Authorization header to a caller who may do what the operation does."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPBearer, SecurityScopes
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException

from sensor_shared.adapters.sessions import SessionCheck
from sensor_shared.adapters.tokens import InvalidTokenError, TokenVerifier
from sensor_shared.contracts.access import Action, Claims
from sensor_shared.runtime.function import Scope

_BEARER = HTTPBearer(
    scheme_name="bearer", bearerFormat="JWT", description="An access token.", auto_error=False
)


class Guard:
    """Dependency of every operation that needs a token: `Security(guard, scopes=[action])`.

    It is solved before parameters are validated, so a request without a good token learns
    nothing but that. The scopes stand in the operation's `security` in OpenAPI, where the
    test of the permission table reads them.
    """

    scheme = _BEARER

    def __init__(self, verifier: TokenVerifier, sessions: SessionCheck):
        self._verifier = verifier
        self._sessions = sessions

    async def __call__(
        self,
        request: Request,
        scopes: SecurityScopes,
        _scheme: Annotated[object, Depends(_BEARER)],
    ) -> Claims:
        """Returns who calls: see `admit`."""
        return await self.admit(request.scope, [Action(scope) for scope in scopes.scopes])

    async def admit(self, scope: Scope, actions: Sequence[Action]) -> Claims:
        """Returns who calls.

        Args:
            scope: of the request.
            actions: all of them are needed; none: nobody may.

        Raises:
            HTTPException: 401 without a token of ours whose session stands; 403 when the
                permission table does not let the role do it.
            DatabaseAwayError: when nobody can tell whether the session stands.
        """
        claims = await self._authenticate(Headers(scope=scope).get("authorization"))
        if not actions or not all(claims.may(action) for action in actions):
            raise HTTPException(
                403,
                f"role {claims.role} may not do this",
                headers={
                    "WWW-Authenticate": f'Bearer error="insufficient_scope", '
                    f'scope="{" ".join(actions)}"'
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


def _refused(reason: str) -> HTTPException:
    challenge = f'Bearer error="invalid_token", error_description="{reason}"'
    return HTTPException(401, reason, headers={"WWW-Authenticate": challenge})
