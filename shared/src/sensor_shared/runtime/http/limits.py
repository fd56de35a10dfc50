"""How many requests are answered: buckets per user, API key and client address, and their headers.

The fields RateLimit-Policy and RateLimit are those of draft-ietf-httpapi-ratelimit-headers-10: `q`
tokens are what a full bucket holds and `w` the seconds in which an empty one becomes full; `r` are
left, and in `t` seconds there are more: enough for the request if it was refused.
"""

import functools
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from fastapi import Request
from redis.asyncio import Redis
from starlette.exceptions import HTTPException

from sensor_shared.adapters.bucket import Draw, Policy, Taken
from sensor_shared.adapters.buckets import Begun, Buckets, settled
from sensor_shared.contracts.access import Claims
from sensor_shared.runtime.function import Scope
from sensor_shared.runtime.http.address import client_address
from sensor_shared.runtime.http.settings import LimitSettings
from sensor_shared.telemetry import metrics

SCOPE_KEY: Final = "twinup.ratelimit"
"""Under this key of the ASGI scope is what was taken, for the headers of the answer."""


class Limits:
    """Takes tokens for requests, and answers 429 when there are none.

    Args:
        redis: shared by all replicas.
        settings: how large the buckets are.
    """

    def __init__(self, redis: Redis, settings: LimitSettings):
        self._buckets = Buckets(redis)
        self._policies = settings.policies()

    def of_address(self, scope: Scope, *, cost: int = 1, policy: str = "address") -> Draw:
        """Returns the draw from the bucket of the client's address."""
        return self._draw(policy, client_address(scope), cost)

    def of_caller(self, claims: Claims, *, cost: int = 1, policy: str = "user") -> Draw:
        """Returns the draw from the bucket of the user, or of the API key if it is one."""
        holder = f"key:{claims.token_id}" if claims.by_key else f"user:{claims.subject}"
        return self._draw(policy, holder, cost)

    def refuse(self, scope: Scope, draw: Draw) -> None:
        """Asks nobody.

        Raises:
            HTTPException: 429 when it is known already that the bucket is empty.
        """
        taken = self._buckets.refused(draw)
        if taken is not None:
            _check(scope, [taken])

    def begin(self, draws: Sequence[Draw]) -> Begun:
        """Begins to take; `settle` waits for it."""
        return self._buckets.begin(draws)

    async def settle(self, scope: Scope, begun: Begun) -> None:
        """Waits for what was begun.

        Raises:
            HTTPException: 429 when one of the buckets had too little.
        """
        _check(scope, await settled(begun))

    def plain(self, scope: Scope, claims: Claims) -> list[Draw]:
        """Returns the draws of a plain read: from the client's address and from the caller."""
        return [self.of_address(scope), self.of_caller(claims)]

    def refuses(self, draws: Sequence[Draw]) -> bool:
        """Tells, and asks nobody, whether it is known already that one has too little left."""
        return any(self._buckets.refused(draw) is not None for draw in draws)

    async def take(self, scope: Scope, draws: Sequence[Draw]) -> None:
        """Takes from all of them.

        Raises:
            HTTPException: 429 when one of them has too little.
        """
        await self.settle(scope, self.begin(draws))

    def per_address(self, policy: str) -> Callable[[Request], Awaitable[None]]:
        """Returns a dependency for an operation that is open: `Depends(limits.per_address(...))`.

        Args:
            policy: a name among those of the settings.
        """

        async def limited(request: Request) -> None:
            draw = self.of_address(request.scope, policy=policy)
            await self.settle(request.scope, self.begin([draw]))

        return limited

    def _draw(self, policy: str, holder: str, cost: int) -> Draw:
        found = self._policies[policy]
        # Who needs more than a full bucket has waits until it is full.
        return Draw(found, holder, min(cost, found.capacity))


def _check(scope: Scope, taken: list[Taken]) -> None:
    scope[SCOPE_KEY] = taken
    refused = [one for one in taken if one.wait_ms]
    if not refused:
        return
    for one in refused:
        metrics.LIMITED.labels(one.policy.name).inc()
    seconds = math.ceil(max(one.wait_ms for one in refused) / 1000)
    raise HTTPException(
        429, f"too many requests; try again in {seconds} s", headers={"Retry-After": str(seconds)}
    )


def headers(taken: Sequence[Taken]) -> tuple[tuple[str, str], ...]:
    """Returns the fields that tell a client what it has left."""
    return (
        ("ratelimit-policy", ", ".join(_policy(one.policy) for one in taken)),
        ("ratelimit", ", ".join(_left(one) for one in taken)),
    )


@functools.lru_cache(maxsize=64)
def _policy(policy: Policy) -> str:
    return f'"{policy.name}";q={policy.capacity};w={policy.window}'


def _left(taken: Taken) -> str:
    policy = taken.policy
    if taken.wait_ms:
        return f'"{policy.name}";r=0;t={math.ceil(taken.wait_ms / 1000)}'
    return f'"{policy.name}";r={taken.left};t={math.ceil(1 / policy.per_second)}'
