"""How many exports run at once: each keeps a connection and a share of ClickHouse for long."""

from collections import Counter
from collections.abc import Callable

from redis.exceptions import RedisError
from starlette.exceptions import HTTPException

from sensor_gateway.export.leases import Leases
from sensor_shared.telemetry.logs import logger

RETRY_SECONDS = 10


class Slots:
    """Counts the exports of this process, and those of a user over all replicas.

    While Redis is away those of a user are counted in this process alone.

    Args:
        most: of all users together, in this process.
        most_per_user: of each.
        leases: with the same limit for a user.
    """

    def __init__(self, most: int, most_per_user: int, leases: Leases):
        self._most = most
        self._most_per_user = most_per_user
        self._leases = leases
        self._taken: Counter[str] = Counter()
        self._log = logger(part="exports")

    async def take(self, user: str) -> Callable[[], None]:
        """Counts one in.

        Returns:
            What counts it out; to be called once.

        Raises:
            HTTPException: 429 when there are too many.
        """
        if self._taken.total() >= self._most or self._taken[user] >= self._most_per_user:
            raise self._too_many()
        self._taken[user] += 1
        lease = self._leases.begin(user)

        def give_back() -> None:
            self._leases.end(lease)
            self._taken[user] -= 1
            if not self._taken[user]:
                del self._taken[user]

        has_room = True
        try:
            has_room = await self._leases.taken(user, lease)
        except (RedisError, OSError) as error:
            self._log.warning("Redis away: exports of a user counted here", error=str(error))
        except BaseException:
            give_back()
            raise
        if not has_room:
            give_back()
            raise self._too_many()
        return give_back

    async def stop(self) -> None:
        """Returns when Redis knows that none of these runs any more, or is away."""
        await self._leases.stop()

    def _too_many(self) -> HTTPException:
        return HTTPException(
            429,
            f"at most {self._most_per_user} exports of one user run at the same time, and "
            f"{self._most} of all in one process",
            headers={"Retry-After": str(RETRY_SECONDS)},
        )
