"""`python -m sensor_local.redis_cli [COMMAND …]`: a prompt for the running system's Redis."""

import contextlib
import os
import readline
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from sensor_local.folder import RunFolder

_PROMPT = "redis> "


def show(value: object, indent: int = 0) -> str:
    """Returns an answer as text: lists numbered, bytes as they are read best."""
    match value:
        case None:
            return "(nil)"
        case bytes():
            return value.decode(errors="backslashreplace")
        case list() | tuple() | set():
            if not value:
                return "(empty)"
            pad = " " * indent
            lines = (f"{n}) {show(one, indent + 3)}" for n, one in enumerate(value, 1))
            return f"\n{pad}".join(lines)
        case Mapping():
            return show([part for pair in value.items() for part in pair], indent)
        case _:
            return str(value)


def run(client: Redis, words: list[str]) -> str:
    """Runs one command; an error is an answer too."""
    try:
        # Raw answers, as redis-cli has them: the client's own forms differ by command.
        client.response_callbacks.clear()
        return show(client.execute_command(*words))  # type: ignore[no-untyped-call]
    except RedisError as error:
        return f"(error) {error}"


def main() -> None:
    """Command line entry."""
    endpoints = RunFolder(Path(os.environ.get("TWINUP_RUN_DIR", ".run"))).endpoints
    if endpoints is None or "redis" not in endpoints:
        sys.exit("not running; `make up` starts it")
    with Redis.from_url(endpoints["redis"]) as client:
        if len(sys.argv) > 1:
            sys.stdout.write(f"{run(client, sys.argv[1:])}\n")
            return
        readline.set_history_length(1000)
        while True:
            try:
                words = shlex.split(input(_PROMPT))
            except ValueError as error:
                sys.stdout.write(f"(error) {error}\n")
                continue
            except (EOFError, KeyboardInterrupt):
                sys.stdout.write("\n")
                return
            if words and words[0].lower() in ("exit", "quit"):
                return
            if words:
                with contextlib.suppress(KeyboardInterrupt):
                    sys.stdout.write(f"{run(client, words)}\n")


if __name__ == "__main__":
    main()
