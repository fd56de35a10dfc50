"""Values of a query, each under a name of its own: text is composed of names, never of values."""

from typing import Any

from sensor_gateway.rollups.stretches import Stretch


class Bindings:
    """Collects the parameters of one query."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def add(self, value: Any, kind: str) -> str:
        """Returns what stands for a value in the text of the query.

        Args:
            value: that is bound.
            kind: its ClickHouse type, e.g. `Array(String)`.
        """
        name = f"p{len(self.values)}"
        self.values[name] = value
        return f"{{{name}:{kind}}}"

    def during(self, column: str, stretches: list[Stretch]) -> str:
        """Returns a condition on a column of time that ClickHouse compares with its primary key.

        With milliseconds, as raw rows have them: the engine rounds a bound of 59.520 s up when it
        compares it with a whole second, and then leaves out a part that it should read.
        """
        return " OR ".join(
            f"({column} >= {self._moment(start)} AND {column} < {self._moment(end)})"
            for start, end in stretches
        )

    def _moment(self, seconds: int) -> str:
        return f"fromUnixTimestamp64Milli({self.add(seconds * 1_000, 'Int64')}, 'UTC')"
