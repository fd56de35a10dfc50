"""Token buckets that all replicas share: in Redis, and in this process while Redis is away.

A bucket holds at most `capacity` tokens and gains `per_second`; one atomic script takes from it, by
the clock of Redis, so it does not matter how many replicas there are and how their clocks go.

Who asks again and again does not cost a round trip each time. A replica that has used up within a
second what it took takes twice as many tokens the next time, up to `most_ahead` and never more
than half of what the bucket has left, and uses them here. What it does not use within a second is
lost. Therefore at most `capacity + per_second * t + replicas * most_ahead` requests pass in any t
seconds, and a bucket whose policy has `most_ahead` 1 is exact. Requests that wait for Redis at the
same time share one pipeline, and those that want of the same bucket one call of the script.
"""

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError

from sensor_shared.adapters.bucket import (
    Draw,
    State,
    Taken,
    Waiter,
    give,
    share_out,
    take_here,
)
from sensor_shared.telemetry import metrics
from sensor_shared.telemetry.logs import logger

# KEYS: the bucket. ARGV: capacity, tokens a second, the least that helps anybody, what all who wait
# need, tokens wanted in advance. Returns tokens given, tokens left, and the milliseconds until the
# least is there; 0 when something was given.
# The value is "tokens microseconds"; it is gone when the bucket would be full again.
_TAKE: Final = """
local capacity, rate = tonumber(ARGV[1]), tonumber(ARGV[2])
local least, needed, ahead = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local tokens = capacity
local stored = redis.call('GET', KEYS[1])
if stored then
  local had, at = string.match(stored, '^(%S+) (%S+)$')
  tokens = math.min(capacity, had + math.max(0, now - at) / 1000000 * rate)
end
if tokens < least then
  return {0, math.floor(tokens), math.ceil((least - tokens) / rate * 1000)}
end
local given = math.min(needed, math.floor(tokens))
given = given + math.min(ahead, math.floor((tokens - given) / 2))
tokens = tokens - given
local full = math.ceil((capacity - tokens) / rate * 1000)
redis.call('SET', KEYS[1], string.format('%.6f %.0f', tokens, now), 'PX', full)
return {given, math.floor(tokens), 0}
"""
_AWAY_SECONDS: Final = 1.0
_REMEMBERED: Final = 10_000


Begun = list[Taken | asyncio.Future[Taken]]
"""Draws of which some are known already, and the others are asked for."""


async def settled(begun: Begun) -> list[Taken]:
    """Waits for draws that were begun."""
    return [one if isinstance(one, Taken) else await one for one in begun]


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
        self._states: OrderedDict[str, State] = OrderedDict()
        self._waiting: dict[str, tuple[State, list[Waiter]]] = {}
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
            return take_here(state, draw, now)
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
        self._waiting.setdefault(_key(draw), (self._state(draw), []))[1].append((draw, future))
        return future

    async def _send(self) -> None:
        waiting, self._waiting = self._waiting, {}
        try:
            answers = await self._run(
                [self._arguments(key, *group) for key, group in waiting.items()]
            )
        except (RedisError, OSError) as error:
            self._fall_back(error)
            now = self._clock()
            for state, waiters in waiting.values():
                state.asking = False
                for draw, future in waiters:
                    give(future, take_here(state, draw, now))
            return
        metrics.LIMITS_LOCAL.set(0)
        now = self._clock()
        for (state, waiters), answer in zip(waiting.values(), answers, strict=True):
            state.asking = False
            share_out(state, waiters, answer, now)

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

    def _arguments(self, key: str, state: State, waiters: list[Waiter]) -> tuple[Any, ...]:
        policy, costs = waiters[0][0].policy, [draw.cost for draw, _ in waiters]
        ahead = 0
        if not state.asking:
            used_up = self._clock() < state.ends
            state.size = min(state.size * 2, policy.most_ahead) if used_up else 1
            ahead = state.size - 1
            state.asking = True
        return key, policy.capacity, policy.per_second, min(costs), sum(costs), ahead

    def _state(self, draw: Draw) -> State:
        key = _key(draw)
        state = self._states.get(key)
        if state is None:
            state = self._states[key] = State()
            if len(self._states) > _REMEMBERED:
                self._states.popitem(last=False)
        else:
            self._states.move_to_end(key)
        return state

    def _fall_back(self, error: Exception) -> None:
        self._away_until = self._clock() + _AWAY_SECONDS
        metrics.LIMITS_LOCAL.set(1)
        self._log.warning("limits counted in this process", error=str(error))


def _key(draw: Draw) -> str:
    return f"limit:{draw.policy.name}:{draw.holder}"
