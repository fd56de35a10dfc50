"""Packages that are installed for others, and kept out of this process."""

import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from typing import Any, Final

PANDAS: Final = "pandas"


class _Kept(MetaPathFinder):
    """Is asked before all other finders."""

    def find_spec(self, fullname: str, _path: Any, _target: Any = None) -> ModuleSpec | None:
        if fullname == PANDAS:
            raise ModuleNotFoundError(f"{PANDAS} is kept out of this process", name=PANDAS)
        return None


def without_pandas() -> None:
    """Lets `import pandas` fail, as it does in the images, where it is not installed.

    On one machine the embedded ClickHouse brings it, and pyarrow takes it along with its first
    array: 37 MB of each process. Must be called before that.
    """
    sys.meta_path.insert(0, _Kept())
