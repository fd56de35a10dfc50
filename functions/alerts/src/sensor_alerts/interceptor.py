"""The service token: every call needs it, but health and reflection."""

import hmac
from collections.abc import Awaitable, Callable
from typing import Any, Final

import grpc

OPEN: Final = ("/grpc.health.v1.", "/grpc.reflection.")
_SCHEME: Final = "bearer"


class TokenInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # no class to be subscripted at run time
    """Answers UNAUTHENTICATED unless metadata has `authorization: Bearer <service token>`."""

    def __init__(self, token: str):
        self._token = token.encode()
        self._refusal = grpc.unary_unary_rpc_method_handler(_refuse)

    async def intercept_service(
        self,
        continuation: Callable[
            [grpc.HandlerCallDetails], Awaitable["grpc.RpcMethodHandler[Any, Any]"]
        ],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "grpc.RpcMethodHandler[Any, Any]":
        """Looks at one call before its request is read."""
        if handler_call_details.method.startswith(OPEN) or self._knows(handler_call_details):
            return await continuation(handler_call_details)
        return self._refusal

    def _knows(self, call: grpc.HandlerCallDetails) -> bool:
        given = [value for key, value in call.invocation_metadata or () if key == "authorization"]
        if len(given) != 1:
            return False
        text = given[0] if isinstance(given[0], str) else given[0].decode("latin-1")
        scheme, _, token = text.partition(" ")
        return scheme.lower() == _SCHEME and hmac.compare_digest(token.encode(), self._token)


async def _refuse(_request: Any, context: "grpc.aio.ServicerContext[Any, Any]") -> None:
    await context.abort(
        grpc.StatusCode.UNAUTHENTICATED, "metadata 'authorization: Bearer <token>' is needed"
    )
