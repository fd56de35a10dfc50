"""Every error of a REST service as a problem document (RFC 9457), and its place in OpenAPI."""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from sensor_shared.adapters.database import DatabaseAwayError, TooMuchError
from sensor_shared.adapters.jwks import KeysAwayError
from sensor_shared.runtime.http import methods
from sensor_shared.runtime.responses import PROBLEM, problem
from sensor_shared.telemetry.logs import logger

_MAX_ERRORS = 20
_MAX_LOCATION = 200


class InvalidValue(BaseModel):
    """One mistake in a request."""

    location: str = Field(examples=["query.page"], description="where: path, query or body")
    detail: str = Field(examples=["Input should be greater than or equal to 1"])


class Problem(BaseModel):
    """What went wrong (RFC 9457)."""

    type: str = Field(examples=["about:blank"])
    title: str = Field(examples=["Not Found"])
    status: int = Field(ge=400, le=599, examples=[404])
    detail: str = Field(examples=["no such device"])
    errors: list[InvalidValue] | None = Field(default=None, description="only with status 422")


def answer(
    status: int, detail: str, headers: dict[str, str] | None = None, **members: Any
) -> Response:
    """Returns a problem document as a response."""
    return Response(problem(status, detail, **members), status, headers, media_type=PROBLEM)


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Returns the entries of an operation's `responses` for these errors."""
    return {status: described(status) for status in statuses}


def described(status: int) -> dict[str, Any]:
    """Returns the OpenAPI response of an error."""
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": HTTPStatus(status).phrase, "content": {PROBLEM: {"schema": schema}}}


def install(app: FastAPI) -> None:
    """Answers the errors of `app` with problem documents."""
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(DatabaseAwayError, _away)
    app.add_exception_handler(TooMuchError, _too_much)
    app.add_exception_handler(KeysAwayError, _away)
    app.add_exception_handler(Exception, _failed)


async def _http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers = {"Allow": methods.allowed(request.app, request.scope)}
        if request.method == "OPTIONS":
            return Response(status_code=204, headers=headers)
    return answer(error.status_code, str(error.detail), headers)


async def _invalid(_request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    # Neither the input nor pydantic's context goes back: a password may be in both.
    mistakes = [
        {
            "location": ".".join(str(part) for part in mistake["loc"])[:_MAX_LOCATION],
            "detail": mistake["msg"].removeprefix("Value error, "),
        }
        for mistake in error.errors()[:_MAX_ERRORS]
    ]
    return answer(422, "the request is not valid", errors=mistakes)


async def _away(_request: Request, error: Exception) -> Response:
    logger().warning("part away", error=str(error))
    return answer(503, "a part that is needed does not answer now", {"Retry-After": "1"})


async def _too_much(_request: Request, error: Exception) -> Response:
    logger().warning("too much was asked for", error=str(error))
    return answer(422, "this is too much at once; ask for a shorter span or a coarser resolution")


async def _failed(_request: Request, _error: Exception) -> Response:
    # The exchange around the application logs it.
    return answer(500, "the service failed; its log says why")
