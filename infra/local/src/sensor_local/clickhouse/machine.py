"""What the engine needs of the machine beneath it and cannot ask for by itself. Linux only.

- ext4 does not use the number of a file again within seconds of its deletion, and looks through all
  of those that are near. A table makes and deletes a dozen files for each insert, side by side, so
  after a while making a file costs more than filling it. With the flag that `chattr +T` sets, the
  folders in a table's folder are laid out far from each other.
- Merges keep both of two cores busy for tens of milliseconds. An insert that somebody waits for
  should not wait for them, so their threads give way.
"""

import contextlib
import fcntl
import os
import sys
import threading
from pathlib import Path
from typing import Final

_GET_FLAGS: Final = 0x80086601
_SET_FLAGS: Final = 0x40086602
_TOP_OF_TREE: Final = 0x00020000
_WAY_GIVING: Final = frozenset({"MergeMutate"})
_NICE: Final = 10
_LOOK_SECONDS: Final = 5.0


class Machine(threading.Thread):
    """Looks every few seconds for tables and threads that are new. All of it is at its best effort.

    Args:
        folder: the engine's data.
    """

    def __init__(self, folder: Path):
        super().__init__(name="machine", daemon=True)
        self._folder = folder
        self._done: set[Path] = set()
        self._ended = threading.Event()

    def run(self) -> None:
        """Looks until it is stopped."""
        if sys.platform != "linux":
            return
        while True:
            with contextlib.suppress(OSError):  # what was listed may be gone when it is looked at
                self.look()
            if self._ended.wait(_LOOK_SECONDS):
                return

    def look(self) -> None:
        """Looks once."""
        for table in self._folder.glob("store/*/*"):
            if table not in self._done:
                self._done.add(table)
                spread(table)
        for task in Path("/proc/self/task").iterdir():
            if task not in self._done and _comm(task) in _WAY_GIVING:
                self._done.add(task)
                _give_way(int(task.name))

    def stop(self) -> None:
        """Ends the thread."""
        self._ended.set()
        self.join()


def spread(folder: Path) -> bool:
    """Lets what is made in a folder lie far apart; tells whether its file system can do that."""
    flags = bytearray(8)
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:  # a table that was dropped just now
        return False
    try:
        fcntl.ioctl(handle, _GET_FLAGS, flags)
        wanted = int.from_bytes(flags[:4], sys.byteorder) | _TOP_OF_TREE
        fcntl.ioctl(handle, _SET_FLAGS, wanted.to_bytes(4, sys.byteorder) + bytes(4))
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


def _comm(task: Path) -> str:
    try:
        return (task / "comm").read_text(encoding="utf-8", errors="replace").rstrip("\n")
    except OSError:  # it has ended
        return ""


def _give_way(thread: int) -> None:
    try:
        os.setpriority(os.PRIO_PROCESS, thread, _NICE)
    except OSError:
        return
