"""Token buckets that all replicas share: in Redis, and in this process while Redis is away.

A bucket holds at most `capacity` tokens and gains `per_second`; one atomic script takes from it, by
the clock of Redis, so it does not matter how many replicas there are and how their clocks go.

Who asks again and again does not cost a round trip each time. A replica that has used up within a
second what it took takes twice as many tokens the next time, up to `most_ahead` and never more
than half of what the bucket has, and uses them here. What it does not use within a second is lost.
Therefore at most `capacity + per_second * t + replicas * most_ahead` requests pass in any t
seconds, and a bucket whose policy has `most_ahead` 1 is exact. Requests that wait for Redis at the
same time share one pipeline.
"""

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError

from sensor_shared.telemetry import metrics
from sensor_shared.telemetry.logs import logger

# KEYS: the bucket. ARGV: capacity, tokens a second, cost, tokens wanted (at least the cost).
# Returns tokens given, tokens left (both 0 or more), and the milliseconds until the cost is there.
# The value is "tokens microseconds"; it is gone when the bucket would be full again.
_TAKE: Final = """
local capacity, rate = tonumber(ARGV[1]), tonumber(ARGV[2])
local cost, wanted = tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local tokens = capacity
local stored = redis.call('GET', KEYS[1])
if stored then
  local had, at = string.match(stored, '^(%S+) (%S+)$')
  tokens = math.min(capacity, had + math.max(0, now - at) / 1000000 * rate)
end
if tokens < cost then
  return {0, math.floor(tokens), math.ceil((cost - tokens) / rate * 1000)}
end
local given = math.max(cost, math.min(wanted, math.floor(tokens / 2)))
tokens = tokens - given
local full = math.ceil((capacity - tokens) / rate * 1000)
redis.call('SET', KEYS[1], string.format('%.6f %.0f', tokens, now), 'PX', full)
return {given, math.floor(tokens), 0}
"""
_AHEAD_SECONDS: Final = 1.0
_AWAY_SECONDS: Final = 1.0
_REMEMBERED: Final = 10_000


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


Begun = list[Taken | asyncio.Future[Taken]]
"""Draws of which some are known already, and the others are asked for."""


async def settled(begun: Begun) -> list[Taken]:
    """Waits for draws that were begun."""
    return [one if isinstance(one, Taken) else await one for one in begun]


@dataclass(slots=True)
class _State:
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


class Buckets:
    """The buckets of one service.

    While Redis is away each replica counts by itself, with the same capacity and rate: N replicas
    let N times as much pass. `sensor_http_limits_local` says so. The 10,000 holders that came last
    are known here; who was forgotten starts with a full bucket then.

    Args:
        redis: shared by all replicas.
        clock: seconds, for what is kept in this process.
    """

    def __init__(self, redis: Redis, *, clock: Callable[[], float] = time.monotonic):
        self._redis = redis
        self._clock = clock
        self._states: OrderedDict[str, _State] = OrderedDict()
        self._waiting: list[tuple[Draw, _State, asyncio.Future[Taken]]] = []
        self._sending: set[asyncio.Task[None]] = set()
        self._sha = ""
        self._away_until = float("-inf")
        self._log = logger(part="limits")

    def _at_hand(self, draw: Draw) -> Taken | None:
        """Takes what can be taken, or refused, without asking Redis; None: it must be asked."""
        state = self._state(draw)
        now = self._clock()
        if now < state.refused_until and draw.cost >= state.refused_cost:
            wait = math.ceil((state.refused_until - now) * 1000)
            return Taken(draw.policy, state.left, wait)
        if state.ahead >= draw.cost and now < state.ends:
            state.ahead -= draw.cost
            return Taken(draw.policy, state.left + int(state.ahead), 0)
        if now < self._away_until:
            return _take_here(state, draw, now)
        return None

    def refused(self, draw: Draw) -> Taken | None:
        """Returns the refusal when it is known already that there are too few tokens."""
        state = self._states.get(_key(draw))
        if state is None or draw.cost < state.refused_cost:
            return None
        wait = math.ceil((state.refused_until - self._clock()) * 1000)
        return Taken(draw.policy, state.left, wait) if wait > 0 else None

    def begin(self, draws: Sequence[Draw]) -> Begun:
        """Takes from all buckets, each by itself, with one round trip at most.

        It is under way when this returns, so that a caller can ask for something else meanwhile.
        """
        return [self._at_hand(draw) or self._ask(draw) for draw in draws]

    async def take(self, draws: Sequence[Draw]) -> list[Taken]:
        """Does what `begin` does and waits for it."""
        return await settled(self.begin(draws))

    def _ask(self, draw: Draw) -> asyncio.Future[Taken]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Taken] = loop.create_future()
        if not self._waiting:
            # All that comes before the loop gets to this goes with it.
            task = loop.create_task(self._send(), name="limits")
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)
        self._waiting.append((draw, self._state(draw), future))
        return future

    async def _send(self) -> None:
        waiting, self._waiting = self._waiting, []
        try:
            answers = await self._run([self._arguments(draw, state) for draw, state, _ in waiting])
        except (RedisError, OSError) as error:
            self._fall_back(error)
            now = self._clock()
            for draw, state, future in waiting:
                state.asking = False
                _give(future, _take_here(state, draw, now))
            return
        metrics.LIMITS_LOCAL.set(0)
        now = self._clock()
        for (draw, state, future), answer in zip(waiting, answers, strict=True):
            state.asking = False
            _give(future, _learn(state, draw, answer, now))

    async def _run(self, calls: list[tuple[Any, ...]]) -> list[list[int]]:
        for _ in range(2):
            if not self._sha:
                self._sha = await self._redis.script_load(_TAKE)
            pipeline = self._redis.pipeline(transaction=False)
            for key, *arguments in calls:
                pipeline.evalsha(self._sha, 1, key, *arguments)
            try:
                answers: list[list[int]] = await pipeline.execute()
            except NoScriptError:
                self._sha = ""  # Redis was started again
            else:
                return answers
        raise RedisError("the script is not kept")

    def _arguments(self, draw: Draw, state: _State) -> tuple[Any, ...]:
        policy, wanted = draw.policy, draw.cost
        if not state.asking:
            used_up = self._clock() < state.ends
            state.size = min(state.size * 2, policy.most_ahead) if used_up else 1
            wanted = max(draw.cost, state.size)
            state.asking = True
        return (_key(draw), policy.capacity, policy.per_second, draw.cost, wanted)

    def _state(self, draw: Draw) -> _State:
        key = _key(draw)
        state = self._states.get(key)
        if state is None:
            state = self._states[key] = _State()
            if len(self._states) > _REMEMBERED:
                self._states.popitem(last=False)
        else:
            self._states.move_to_end(key)
        return state

    def _fall_back(self, error: Exception) -> None:
        self._away_until = self._clock() + _AWAY_SECONDS
        metrics.LIMITS_LOCAL.set(1)
        self._log.warning("limits counted in this process", error=str(error))


def _learn(state: _State, draw: Draw, answer: list[int], now: float) -> Taken:
    given, left, wait = answer
    state.left = left
    if wait:
        state.refused_cost, state.refused_until = draw.cost, now + wait / 1000
        return Taken(draw.policy, left, wait)
    if now >= state.ends:
        state.ahead = 0.0
    state.ahead += given - draw.cost
    state.ends = now + _AHEAD_SECONDS
    return Taken(draw.policy, left + int(state.ahead), 0)


def _take_here(state: _State, draw: Draw, now: float) -> Taken:
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


def _give(future: asyncio.Future[Taken], taken: Taken) -> None:
    if not future.done():  # whoever asked may have gone
        future.set_result(taken)


def _key(draw: Draw) -> str:
    return f"limit:{draw.policy.name}:{draw.holder}"
