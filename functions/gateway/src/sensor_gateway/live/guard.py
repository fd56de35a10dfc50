"""Who opens a stream: the bearer of a token, or of a ticket."""

from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import APIKeyQuery, SecurityScopes
from redis.exceptions import RedisError
from starlette.exceptions import HTTPException

from sensor_gateway.live.tickets import Tickets
from sensor_shared.adapters.sessions import SessionCheck
from sensor_shared.contracts.access import Action, Claims
from sensor_shared.runtime.http.guard import API_KEY_HEADER, Guard
from sensor_shared.runtime.http.limits import Limits

_TICKET = APIKeyQuery(
    scheme_name="ticket",
    name="ticket",
    description="Of POST …/tickets beside the stream, which it opens once, within 30 seconds.",
    auto_error=False,
)


class TicketGuard:
    """Dependency of an operation that takes a ticket in place of a token.

    A request with a token or a key in its head is judged by that alone.

    Args:
        guard: judges tokens.
        tickets: those that were made.
        sessions: tells whether the session of a ticket's maker still stands.
        limits: of requests per client address; the making of the ticket took from its maker's.
    """

    def __init__(self, guard: Guard, tickets: Tickets, sessions: SessionCheck, limits: Limits):
        self._guard = guard
        self._tickets = tickets
        self._sessions = sessions
        self._limits = limits

    async def __call__(
        self,
        request: Request,
        scopes: SecurityScopes,
        _bearer: Annotated[object, Depends(Guard.scheme)],
        _ticket: Annotated[object, Depends(_TICKET)],
    ) -> Claims:
        """Returns who calls.

        Raises:
            HTTPException: 401, 403, 429 as `Guard`; 503 when Redis, which has the tickets, is away.
            DatabaseAwayError: when nobody can tell whether the session stands.
        """
        actions = [Action(scope) for scope in scopes.scopes]
        tickets = request.query_params.getlist("ticket")
        if not tickets or any(
            name in request.headers for name in ("Authorization", API_KEY_HEADER)
        ):
            return await self._guard.admit(request.scope, actions)
        [action] = actions
        address = self._limits.of_address(request.scope)
        await self._limits.settle(request.scope, self._limits.begin([address]))
        try:
            caller = await self._tickets.take(tickets[0], action) if len(tickets) == 1 else None
        except (RedisError, OSError) as error:
            raise HTTPException(
                503, "tickets cannot be looked at now", headers={"Retry-After": "1"}
            ) from error
        if (
            caller is None
            or not caller.may(action)
            or not await self._sessions.stands(caller.session)
        ):
            raise HTTPException(
                401,
                "the ticket opens nothing (any more)",
                headers={"WWW-Authenticate": 'Bearer error="invalid_token"'},
            )
        return caller
