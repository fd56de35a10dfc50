"""Garbage that refers to itself is looked at seldom, and goes all the same."""

import subprocess
import sys

PROGRAM = """
import gc, weakref
from sensor_shared.runtime import garbage

class Node: pass

there = [Node() for _ in range(1_000)]
garbage.settle()
assert gc.get_freeze_count() >= 1_000
looks = []
gc.callbacks.append(lambda phase, _info: phase == "start" and looks.append(1))
left = []
for _ in range(100_000):
    node = Node()
    node.itself = node
    left.append(weakref.ref(node))
alive = sum(node() is not None for node in left)
print(len(looks), alive)
"""


def test_cycles_are_collected_some_ten_thousand_allocations_later() -> None:
    """200,000 objects: with Python's own 700 these are hundreds of looks."""
    found = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, check=True)
    looks, alive = map(int, found.stdout.split())
    assert 5 <= looks <= 40
    assert alive < 30_000
