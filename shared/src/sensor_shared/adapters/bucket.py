"""One token bucket as a process sees it: what was taken of it in advance, and what replaces it."""

import asyncio
import math
from dataclasses import dataclass
from typing import Final

AHEAD_SECONDS: Final = 1.0
"""After that, what was taken in advance is lost."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How a kind of bucket fills.

    Attributes:
        name: in the headers and metrics.
        capacity: tokens of a full bucket, so of a burst.
        per_second: tokens that it gains.
        most_ahead: tokens that one replica takes in advance; 1: none.
    """

    name: str
    capacity: int
    per_second: float
    most_ahead: int = 1

    @property
    def window(self) -> int:
        """Seconds in which an empty bucket becomes full."""
        return math.ceil(self.capacity / self.per_second)


@dataclass(frozen=True, slots=True)
class Draw:
    """What is taken: `cost` tokens of the bucket that `policy` keeps for `holder`."""

    policy: Policy
    holder: str
    cost: int = 1


@dataclass(frozen=True, slots=True)
class Taken:
    """What came of a draw.

    Attributes:
        policy: of the bucket.
        left: tokens that are left, as far as this replica knows.
        wait_ms: 0 when it was given, else the time until there are enough.
    """

    policy: Policy
    left: int
    wait_ms: int


Waiter = tuple[Draw, asyncio.Future[Taken]]
"""Somebody who waits for what comes of a draw."""


@dataclass(slots=True)
class State:
    """What this process knows of one bucket."""

    ahead: float = 0.0
    """Tokens that were taken and not used."""
    ends: float = 0.0
    """When those are lost."""
    size: int = 1
    """Tokens to be taken the next time."""
    asking: bool = False
    """Somebody is taking some in advance; who comes meanwhile takes what he needs."""
    left: int = 0
    """In Redis."""
    refused_cost: int = 0
    refused_until: float = 0.0
    local: float = 0.0
    """Tokens of the bucket that replaces the one in Redis ..."""
    local_at: float | None = None
    """... and when they were counted; None: it was never needed."""


def share_out(state: State, waiters: list[Waiter], answer: list[int], now: float) -> None:
    """Gives what Redis gave to those who wait, first come first served; the rest is kept."""
    given, state.left, wait = answer
    least = min(draw.cost for draw, _ in waiters)
    for draw, future in waiters:
        policy = draw.policy
        if draw.cost <= given:
            given -= draw.cost
            give(future, Taken(policy, state.left + given, 0))
            continue
        missing = draw.cost - least if wait else draw.cost - state.left - given
        longer = max(1, wait + math.ceil(missing / policy.per_second * 1000))
        state.refused_cost, state.refused_until = draw.cost, now + longer / 1000
        give(future, Taken(policy, state.left, longer))
    if wait:
        return
    state.ahead = given + (state.ahead if now < state.ends else 0)
    state.ends = now + AHEAD_SECONDS


def take_here(state: State, draw: Draw, now: float) -> Taken:
    """Takes from the bucket of this process alone, which stands in for that in Redis."""
    policy = draw.policy
    if state.local_at is None:
        state.local = policy.capacity
    else:
        gained = (now - state.local_at) * policy.per_second
        state.local = min(policy.capacity, state.local + gained)
    state.local_at = now
    if state.local < draw.cost:
        wait = math.ceil((draw.cost - state.local) / policy.per_second * 1000)
        return Taken(policy, int(state.local), wait)
    state.local -= draw.cost
    return Taken(policy, int(state.local), 0)


def give(future: asyncio.Future[Taken], taken: Taken) -> None:
    """Tells somebody who waits what came of it."""
    if not future.done():  # whoever asked may have gone
        future.set_result(taken)
