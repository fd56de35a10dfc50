"""What is measured of the gateway, one module each."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from load.bench.api import device_list, latest_value
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
NAMES: Final = tuple(SCENARIOS)


def measure(
    only: Sequence[str] = NAMES, *, seconds: float = SECONDS, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Runs the scenarios one after the other in one world, and returns their figures by name.

    Raises:
        BenchError: when one could not be measured.
    """
    with World(tell) as world:
        world.make_devices()
        return {name: SCENARIOS[name](world, seconds=seconds) for name in only}
