"""`python -m sensor_producer [configuration file]`."""

import sys

from sensor_producer.main import main

if __name__ == "__main__":
    sys.exit(main())
