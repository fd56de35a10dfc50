"""`python -m sensor_shared.runtime functions/<name>` serves one function."""

import argparse
import sys
from pathlib import Path

from sensor_shared.runtime.framework import serve
from sensor_shared.runtime.lean import without_pandas
from sensor_shared.runtime.settings import SettingsError


def main() -> None:
    """Command line entry."""
    without_pandas()
    parser = argparse.ArgumentParser(prog="sensor_shared.runtime", description=__doc__)
    parser.add_argument("folder", type=Path, help="the function's folder, e.g. functions/consumer")
    try:
        serve(parser.parse_args().folder)
    except SettingsError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
