"""Stretches of time as sorted pairs of epoch seconds, end excluded: widened, cut and joined."""

from collections.abc import Iterable, Sequence

Stretch = tuple[int, int]


def joined(stretches: Iterable[Stretch], seconds: int = 1) -> list[Stretch]:
    """Returns the stretches widened to whole periods of `seconds`, joined where they meet."""
    found: list[Stretch] = []
    for start, end in sorted(stretches):
        first, last = start // seconds * seconds, -(-end // seconds) * seconds
        if found and first <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return found


def within(stretches: Iterable[Stretch], bounds: Sequence[Stretch]) -> list[Stretch]:
    """Returns what the stretches and the bounds have in common; both sorted and disjoint."""
    common = ((max(start, low), min(end, high)) for start, end in stretches for low, high in bounds)
    return [(start, end) for start, end in common if start < end]


def without(stretches: Iterable[Stretch], holes: Sequence[Stretch]) -> list[Stretch]:
    """Returns what is left of the stretches where no hole is; both sorted and disjoint."""
    left: list[Stretch] = []
    for start, end in stretches:
        at = start
        for low, high in holes:
            if low < end and high > at:
                if low > at:
                    left.append((at, low))
                at = high
        if at < end:
            left.append((at, end))
    return left
