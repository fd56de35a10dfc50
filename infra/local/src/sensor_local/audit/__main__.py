"""`python -m sensor_local.audit`: see `command`."""

import sys

from sensor_local.audit.command import main

if __name__ == "__main__":
    sys.exit(main())
