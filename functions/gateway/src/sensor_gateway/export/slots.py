"""How many exports run at once: each keeps a connection and a share of ClickHouse for long."""

from collections import Counter

from starlette.exceptions import HTTPException

RETRY_SECONDS = 10


class Slots:
    """Counts the exports of this process.

    Args:
        most: of all users together.
        most_per_user: of each.
    """

    def __init__(self, most: int, most_per_user: int):
        self._most = most
        self._most_per_user = most_per_user
        self._taken: Counter[str] = Counter()

    @property
    def taken(self) -> int:
        """How many run now."""
        return self._taken.total()

    def take(self, user: str) -> None:
        """Counts one in.

        Raises:
            HTTPException: 429 when there are too many.
        """
        if self._taken.total() >= self._most or self._taken[user] >= self._most_per_user:
            raise HTTPException(
                429,
                f"at most {self._most_per_user} exports of one user run at the same time, and "
                f"{self._most} of all",
                headers={"Retry-After": str(RETRY_SECONDS)},
            )
        self._taken[user] += 1

    def give_back(self, user: str) -> None:
        """Counts it out."""
        self._taken[user] -= 1
        if not self._taken[user]:
            del self._taken[user]
