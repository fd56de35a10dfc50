"""The one error that the local system reports to people."""


class StartError(RuntimeError):
    """The system cannot start; the message says why and what to do."""
