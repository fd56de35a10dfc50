"""How often Python looks for garbage that refers to itself."""

import gc
from typing import Final

_ALLOCATIONS: Final = 10_000


def settle() -> None:
    """Leaves what is there now alone, and looks at what comes seldom; call it once started.

    Modules and clients stay for good. Of what comes later most belongs to something that waits for
    an answer, is looked at in vain (Python's 700 allocations are three events), and goes by itself.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS)
