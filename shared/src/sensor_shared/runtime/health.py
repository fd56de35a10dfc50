"""What a function says of its health, in the same words under both runtimes."""

from sensor_shared.runtime.function import Function, Troubled

Health = tuple[bool, str]


def liveness(function: Function) -> Health:
    """Returns whether the process can go on, and a word for people."""
    return _told(function.alive())


def readiness(function: Function) -> Health:
    """Returns whether the function can do its work now, and what is wrong although it does."""
    healthy, word = _told(function.ready())
    troubles = function.troubles() if isinstance(function, Troubled) else ()
    if troubles:
        word = f"{'degraded' if healthy else word}: {'; '.join(troubles)}"
    return healthy, word


def _told(healthy: bool) -> Health:
    return healthy, "OK" if healthy else "Unavailable"
