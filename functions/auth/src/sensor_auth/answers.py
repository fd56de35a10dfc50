"""What the operations of auth have in common: who asks, and errors as answers."""

from collections.abc import Awaitable
from typing import Annotated, TypeVar

from fastapi import Depends, Request
from starlette.exceptions import HTTPException

from sensor_auth.domain import (
    BusyError,
    Client,
    ConflictError,
    InvalidCredentialsError,
    LockedError,
    SessionEndedError,
    UnavailableError,
    UnknownError,
    WeakPasswordError,
    WrongPasswordError,
)
from sensor_shared.adapters.database import DatabaseAwayError
from sensor_shared.runtime.http.address import client_address

_T = TypeVar("_T")
_MAX_AGENT = 200


def _client(request: Request) -> Client:
    agent = request.headers.get("user-agent", "")[:_MAX_AGENT]
    return Client(
        address=client_address(request.scope),
        agent="".join(letter if letter.isprintable() else "?" for letter in agent),
    )


Caller = Annotated[Client, Depends(_client)]
"""Parameter of an operation that wants to know where the request comes from."""


async def answered(step: Awaitable[_T]) -> _T:
    """Returns what the step returns.

    Raises:
        HTTPException: for what it raises.
    """
    try:
        return await step
    except InvalidCredentialsError as error:
        raise _challenge("wrong user name or password") from error
    except SessionEndedError as error:
        raise _challenge("the session has ended; log in again") from error
    except WrongPasswordError as error:
        raise HTTPException(403, "the old password is wrong") from error
    except UnknownError as error:
        raise HTTPException(404, str(error)) from error
    except ConflictError as error:
        raise HTTPException(409, str(error)) from error
    except WeakPasswordError as error:
        raise HTTPException(422, f"choose another password: {error}") from error
    except LockedError as error:
        retry = {"Retry-After": str(error.seconds)}
        raise HTTPException(429, "too many failed logins; try later", headers=retry) from error
    except (BusyError, UnavailableError, DatabaseAwayError) as error:
        reason = str(error) if not isinstance(error, DatabaseAwayError) else "try again later"
        raise HTTPException(503, reason, headers={"Retry-After": "1"}) from error


def _challenge(detail: str) -> HTTPException:
    return HTTPException(401, detail, headers={"WWW-Authenticate": "Bearer"})
