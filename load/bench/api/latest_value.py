"""The latest value of single devices: how many of a core, and how late at half of the mark."""

import random
from typing import Any, Final

from load.bench.api.world import World

MARK_PER_CORE: Final = 6_000
"""Requests per second of the gateway's CPU time."""
_CONNECTIONS: Final = 64


def measure(world: World, *, seconds: float) -> dict[str, Any]:
    """Returns the figures, over devices at random."""
    world.renew_latest()
    ids = world.ids()
    random.Random(1).shuffle(ids)  # noqa: S311 - the same order in every run
    paths = [f"/api/v1/devices/{id_}/metrics" for id_ in ids]
    world.tell("api: latest values, as many as it can")
    most = world.drive(paths, connections=_CONNECTIONS, seconds=seconds)
    rate = MARK_PER_CORE / 2
    world.tell(f"api: latest values, {rate:,.0f} a second")
    paced = world.drive(paths, connections=_CONNECTIONS, seconds=seconds, rate=rate)
    return {"most": most.as_json(), "paced": paced.as_json()}
