"""What the gRPC services have in common: how long a call may take, and what is answered in need."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias

import grpc

from sensor_alerts.domain.alert import InvalidRequestError

_DEFAULT_LIMIT: Final = 100
_MAX_LIMIT: Final = 1_000

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


@asynccontextmanager
async def answering(context: Context, seconds: float, log: Any) -> AsyncIterator[None]:
    """Answers requests that are wrong, calls that take too long, and what nobody foresaw.

    What else a service knows of, it answers within.

    Args:
        context: of the call.
        seconds: that it may take.
        log: gets what nobody foresaw.
    """
    try:
        async with asyncio.timeout(seconds):
            yield
    except InvalidRequestError as error:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
    except TimeoutError:
        await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, f"took longer than {seconds:g} s")
    except grpc.aio.AbortError:
        raise
    except Exception:
        log.exception("call failed")
        await context.abort(grpc.StatusCode.INTERNAL, "the service failed; its log says why")


def limit(given: int) -> int:
    """Returns how many entries a page has.

    Raises:
        InvalidRequestError: when so many are never given.
    """
    if not 0 <= given <= _MAX_LIMIT:
        raise InvalidRequestError(f"limit: must be from 1 to {_MAX_LIMIT}, or 0 for 100")
    return given or _DEFAULT_LIMIT
