"""A pass mark: a figure of the results, and what it must be."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Results = Mapping[str, Any]


@dataclass(frozen=True)
class Mark:
    """One pass mark.

    Attributes:
        path: of the figure in the results, keys with dots between.
        name: for people.
        bound: that passes, too.
        sense: whether the figure must be at most or at least the bound.
        unit: for people.
    """

    path: str
    name: str
    bound: float
    sense: Literal["≤", "≥"]
    unit: str = ""

    def value(self, results: Results) -> float | None:
        """Returns the figure, None when it was not measured."""
        found: Any = results
        for key in self.path.split("."):
            found = found.get(key) if isinstance(found, Mapping) else None
        return None if found is None else float(found)

    def met(self, value: float) -> bool:
        """Tells whether a figure passes."""
        return value <= self.bound if self.sense == "≤" else value >= self.bound

    def verdict(self, value: float) -> str:
        """Returns in words whether a figure passes, and by how much."""
        word = "met" if self.met(value) else "MISSED"
        if not self.bound:
            return word if self.met(value) else f"{word} by {value:,.0f}"
        by = value / self.bound - 1
        side = "above" if by > 0 else "below"
        return f"{word}, {abs(by):.0%} {side}" if round(by, 2) else f"{word}, just"
