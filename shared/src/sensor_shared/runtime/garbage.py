"""How often Python looks for garbage that refers to itself."""

import gc
from typing import Final

_ALLOCATIONS: Final = 10_000


def settle() -> None:
    """Leaves what is there now alone, and looks at what comes seldom; call it once started.

    Modules and clients stay for good. Most of what comes later belongs to an event or a request
    that waits for its answer, and goes by itself afterwards. Python looks at it after 700
    allocations, which are three events: nearly always in vain.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS)
