"""Folders and threads of the engine, as the kernel sees them."""

import ctypes
import fcntl
import os
import sys
import threading
from pathlib import Path

import pytest

from sensor_local.clickhouse.machine import _GET_FLAGS, _TOP_OF_TREE, Machine, spread

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="asks Linux")
_PR_SET_NAME = 15


def test_a_table_that_is_new_is_spread_and_one_that_is_gone_does_no_harm(tmp_path: Path) -> None:
    if not spread(tmp_path):
        pytest.skip("this file system has no such flag")
    table = tmp_path / "store" / "abc" / "abcdef"
    table.mkdir(parents=True)
    machine = Machine(tmp_path)
    machine.look()
    flags = bytearray(8)
    handle = os.open(table, os.O_RDONLY)
    fcntl.ioctl(handle, _GET_FLAGS, flags)
    os.close(handle)
    assert int.from_bytes(flags[:4], sys.byteorder) & _TOP_OF_TREE
    assert not spread(tmp_path / "gone")


def test_threads_that_merge_give_way_and_no_others(tmp_path: Path) -> None:
    found: dict[str, int] = {}
    named, seen = threading.Barrier(3), threading.Barrier(3)

    def work(name: str) -> None:
        ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode(), 0, 0, 0)
        found[name] = threading.get_native_id()
        named.wait(10)
        seen.wait(10)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("MergeMutate", "Insert")]
    for thread in threads:
        thread.start()
    named.wait(10)
    Machine(tmp_path).look()
    nice = {name: os.getpriority(os.PRIO_PROCESS, number) for name, number in found.items()}
    seen.wait(10)
    for thread in threads:
        thread.join()
    mine = os.getpriority(os.PRIO_PROCESS, 0)
    assert nice["Insert"] == mine
    assert nice["MergeMutate"] > mine or mine >= 10
