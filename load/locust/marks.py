"""What a run must keep to, and whether it has.

Times are milliseconds on one machine with all of the system and its 10,000 devices on it: they say
that something is wrong, not how fast it can be.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

QUIET: Final = "quiet"
ABUSED: Final = "abused"
"""The two halves of a run; in the second one somebody attacks."""
WARMING: Final = "warming"
"""The first tenth, which is not judged: connections are made and caches are filled."""


@dataclass(frozen=True)
class Measured:
    """One kind of request in one half of a run; times are milliseconds."""

    requests: int
    failures: int
    p50: float
    p95: float
    p99: float


@dataclass(frozen=True)
class Mark:
    """At most so long, at most so many failures; as a share, 0 to 1."""

    p95: float
    p99: float
    failures: float = 0.01


MARKS: Final[Mapping[str, Mark]] = {
    # A login computes a hash that takes 64 MiB and four threads.
    "login": Mark(p95=2_500, p99=4_000),
    "profile": Mark(p95=200, p99=500),
    "logout": Mark(p95=400, p99=1_000),
    "devices": Mark(p95=300, p99=700),
    "metrics": Mark(p95=150, p99=400),
    "history": Mark(p95=500, p99=1_200),
    "alerts": Mark(p95=500, p99=1_200),
    "acknowledge": Mark(p95=500, p99=1_200),
    "ticket": Mark(p95=250, p99=500),
    # From the request to the first reading: half a second is the poll's.
    "live": Mark(p95=2_000, p99=4_000),
    # Failed: answered by anything but 4xx.
    "abuse": Mark(p95=200, p99=500, failures=0.0),
    # A guessed password takes as long as a right one, or it would tell which users there are.
    "guess": Mark(p95=4_000, p99=6_000, failures=0.0),
}
ATTACKS: Final = frozenset({"abuse", "guess"})
SLOWER: Final = 2.0
"""So many times as long a request of the others may take (p95) while somebody attacks."""
SLACK_MS: Final = 100.0
"""That do not count there: at a few milliseconds a factor says nothing."""
ENOUGH: Final = 100
"""Requests, for a p99 to be more than the slowest one, and for two p95 to be compared."""


@dataclass(frozen=True)
class Verdict:
    """One mark and what became of it."""

    what: str
    phase: str
    measured: Measured
    missed: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Returns it for a result file."""
        return asdict(self)


def judge(measured: Mapping[tuple[str, str], Measured]) -> list[Verdict]:
    """Returns a verdict on each kind of request in each half.

    Args:
        measured: by kind and half. What has a mark and was never asked misses it.
    """
    verdicts = []
    for what, mark in MARKS.items():
        for phase in (QUIET, ABUSED):
            if what in ATTACKS and phase == QUIET:
                continue
            found = measured.get((what, phase))
            if found is None or not found.requests:
                verdicts.append(Verdict(what, phase, Measured(0, 0, 0, 0, 0), ("never asked",)))
                continue
            quiet = measured.get((what, QUIET)) if phase == ABUSED else None
            verdicts.append(Verdict(what, phase, found, tuple(_missed(found, mark, quiet))))
    return verdicts


def _missed(found: Measured, mark: Mark, quiet: Measured | None) -> list[str]:
    missed = []
    if found.p95 > mark.p95:
        missed.append(f"p95 above {mark.p95:.0f} ms")
    if found.requests >= ENOUGH and found.p99 > mark.p99:
        missed.append(f"p99 above {mark.p99:.0f} ms")
    share = found.failures / found.requests
    if share > mark.failures:
        missed.append(f"{share:.1%} failed, above {mark.failures:.1%}")
    compared = quiet is not None and min(quiet.requests, found.requests) >= ENOUGH
    if quiet is not None and compared and found.p95 > quiet.p95 * SLOWER + SLACK_MS:
        missed.append(f"p95 above {SLOWER:.0f} times the quiet one and {SLACK_MS:.0f} ms")
    return missed
