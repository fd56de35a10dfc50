"""How long to wait before the next try: exponential, with jitter."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Doubles with each try; the jitter keeps those who failed together from trying together.

    "Equal jitter": half of the wait is fixed, the other half random, so that no try follows at
    once. https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/

    Attributes:
        base: seconds before the second try.
        cap: seconds that it grows to.
    """

    base: float
    cap: float

    def seconds(self, tries: int, random: Callable[[], float]) -> float:
        """Returns the wait after so many tries (from 1), seconds.

        Args:
            tries: that have failed.
            random: gives a number from 0 to 1.
        """
        # The exponent is bounded too: 2.0 ** 2000 is no float.
        full = min(self.cap, self.base * 2.0 ** min(tries - 1, 64))
        return full / 2 + full / 2 * random()
