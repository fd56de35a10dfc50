"""REST services called in process, and the real Redis with a database per test worker."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from redis.asyncio import Redis

from sensor_shared.runtime.function import Function


@asynccontextmanager
async def client(
    function: Function, *, address: str = "192.0.2.1"
) -> AsyncIterator[httpx.AsyncClient]:
    """Yields an HTTP client of the function, which must be started.

    Args:
        function: called without a network.
        address: of the client, as the function sees it.
    """
    transport = httpx.ASGITransport(function.handle, client=(address, 50_000))
    async with httpx.AsyncClient(
        transport=transport, base_url="http://service.example.com"
    ) as made:
        yield made


async def empty_database(host: str, port: int) -> int:
    """Empties the Redis database of this test worker and returns its number."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    number = 1 + int(worker) % 15
    async with Redis(host=host, port=port, db=number) as redis:
        await redis.flushdb()
    return number
