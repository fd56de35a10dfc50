"""The Lua scripts by which replicas share one state in Redis."""

from importlib.resources import files


def script(name: str) -> str:
    """Returns the text of `<name>.lua`."""
    return files(__name__).joinpath(f"{name}.lua").read_text(encoding="utf-8")
