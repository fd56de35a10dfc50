"""`python -m sensor_producer [configuration file]`."""

import sys

from sensor_shared.runtime.lean import without_pandas

without_pandas()

from sensor_producer.main import main  # noqa: E402  (it makes Arrow's first array)

if __name__ == "__main__":
    sys.exit(main())
