"""What is measured of the gateway, one module each."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from load.bench.api import archive, device_list, latest_value
from load.bench.api.world import World

SECONDS: Final = 15.0
"""Of each window."""


class Scenario(Protocol):
    """A module's `measure`."""

    def __call__(self, world: World, *, seconds: float) -> dict[str, Any]:
        """Returns the figures as a report keeps them."""


SCENARIOS: Final[Mapping[str, Scenario]] = {
    "latest": latest_value.measure,
    "device_list": device_list.measure,
}
HISTORY: Final = "history"
NAMES: Final = (*SCENARIOS, HISTORY)


def measure(
    only: Sequence[str] = NAMES, *, seconds: float = SECONDS, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Runs the scenarios one after the other and returns their figures by name.

    All but *history*, which has readings of its own, are in one world.

    Raises:
        BenchError: when one could not be measured.
    """
    found = {}
    if of_fleet := [name for name in only if name in SCENARIOS]:
        with World(tell) as world:
            world.make_devices()
            found = {name: SCENARIOS[name](world, seconds=seconds) for name in of_fleet}
    if HISTORY in only:
        found[HISTORY] = archive.measure(tell)
    return found
