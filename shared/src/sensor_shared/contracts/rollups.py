"""When rollups say what the readings say: the consumer makes them by this, readers rely on it.

docs/decisions/0007-rollups-are-made-anew.md says why it holds. All are seconds.
"""

from typing import Final

from sensor_shared.contracts.readings.model import RETENTION_MS

MINUTE: Final = 60
LATE_AFTER_SECONDS: Final = 30
"""For how long every run of the rollups takes up a minute by itself after it has ended; a reading
that is stored later has a mark."""
SKEW_SECONDS: Final = 30
"""By how much the clocks of consumer and server may differ."""
UNMARKED_SECONDS: Final = MINUTE + LATE_AFTER_SECONDS + SKEW_SECONDS
"""Minutes that begin so long before a run, or later, may have readings that came after it without
a mark."""
WHOLE_SECONDS: Final = RETENTION_MS // 1_000 - 3_600
"""Raw rows that are younger are all there; older ones leave, part by part, and marks of their
minutes are never taken up."""
