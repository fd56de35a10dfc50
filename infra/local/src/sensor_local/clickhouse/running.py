"""The queries that run now, by the ids that clients gave them."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sensor_local.clickhouse import errors
from sensor_local.clickhouse.engine import Lease
from sensor_local.clickhouse.errors import ServerError


@dataclass(slots=True)
class Query:
    """A query that runs; `lease` is that of its connection, None until it has one."""

    id: str
    lease: Lease | None = None


class RunningQueries:
    """Keeps ids unique and their number bounded.

    Args:
        limit: queries that may run at once.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._queries: dict[str, Query] = {}

    @contextmanager
    def add(self, query_id: str | None) -> Iterator[Query]:
        """Counts a query in while it runs; one without an id is given one.

        Raises:
            ServerError: when the id is running already, or too many are.
        """
        query = Query(query_id or str(uuid.uuid4()))
        if query.id in self._queries:
            raise ServerError(
                errors.QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING,
                f"Query with id = {query.id} is already running. "
                "(QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING)",
            )
        if len(self._queries) >= self._limit:
            raise ServerError(
                errors.TOO_MANY_SIMULTANEOUS_QUERIES,
                f"Too many simultaneous queries. Maximum: {self._limit}. "
                "(TOO_MANY_SIMULTANEOUS_QUERIES)",
            )
        self._queries[query.id] = query
        try:
            yield query
        finally:
            del self._queries[query.id]

    def lease(self, query_id: str) -> Lease | None:
        """Returns the lease of the connection that a query runs on, None when it does not run."""
        query = self._queries.get(query_id)
        return query.lease if query else None
