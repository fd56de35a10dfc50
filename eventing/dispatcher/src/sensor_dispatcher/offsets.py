"""Which offset of a partition may be committed: the end of the contiguous finished prefix."""

from collections import deque


class Prefix:
    """Records of one assigned partition, received in order and finished in any order.

    Offsets may have gaps, as compaction and transactions leave them. Not thread-safe.
    """

    def __init__(self) -> None:
        self._open: deque[int] = deque()
        self._finished: set[int] = set()
        self.position: int | None = None
        """Offset of the first record that is not finished; None before the first one."""
        self.committed: int | None = None
        """The position that Kafka has acknowledged last."""

    def receive(self, offset: int) -> None:
        """Notes a record that is about to be delivered; offsets rise from call to call."""
        if not self._open:
            self.position = offset
        self._open.append(offset)

    def finish(self, offset: int) -> None:
        """Notes that a received record is delivered or dead-lettered."""
        self._finished.add(offset)
        while self._open and self._open[0] in self._finished:
            done = self._open.popleft()
            self._finished.remove(done)
            self.position = self._open[0] if self._open else done + 1

    @property
    def unfinished(self) -> bool:
        """Whether records were received that are not finished."""
        return bool(self._open)

    @property
    def commit(self) -> int | None:
        """The offset to commit now, None when there is nothing new."""
        return None if self.position == self.committed else self.position
