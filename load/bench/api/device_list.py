"""Pages of the list of devices: any page, with and without filters, by number and by cursor."""

import http.client
import json
import random
from typing import Any, Final

from load.bench.api.world import DEVICES, World

_PAGE_SIZE: Final = 100
_RATE: Final = 50.0
_CONNECTIONS: Final = 16
_CURSORS: Final = 40


def measure(world: World, *, seconds: float) -> dict[str, Any]:
    """Returns the figures, at 50 pages a second."""
    dice = random.Random(2)  # noqa: S311 - the same pages in every run
    last = DEVICES // _PAGE_SIZE
    paths = [f"/api/v1/devices?page={dice.randint(1, last)}" for _ in range(400)]
    paths += [f"/api/v1/devices?region=west&page={dice.randint(1, last // 5)}" for _ in range(100)]
    paths += [
        f"/api/v1/devices?type=weather_station&region=east&search={dice.randint(10, 99)}"
        for _ in range(50)
    ]
    paths += ["/api/v1/devices?status=active&status=error&page=200"] * 50
    paths += _cursors(world)
    dice.shuffle(paths)
    world.tell(f"api: pages of {DEVICES:,} devices, {_RATE:g} a second")
    return world.drive(paths, connections=_CONNECTIONS, seconds=seconds, rate=_RATE).as_json()


def _cursors(world: World) -> list[str]:
    """Returns the paths of pages that follow each other by cursor."""
    path, found = "/api/v1/devices", []
    connection = http.client.HTTPConnection("127.0.0.1", world.bed.port["gateway"], timeout=20)
    for _ in range(_CURSORS):
        connection.request("GET", path, headers={"Authorization": f"Bearer {world.token}"})
        cursor = json.loads(connection.getresponse().read())["next"]
        path = f"/api/v1/devices?cursor={cursor}"
        found.append(path)
    connection.close()
    return found
