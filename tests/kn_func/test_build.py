"""Each folder in functions/ becomes a service by the host builder's steps, from itself alone."""

import re
import subprocess
from pathlib import Path

import pytest

from .building import Builder


@pytest.mark.parametrize("name", ["consumer", "analytics", "alerts", "auth", "gateway"])
def test_a_function_is_built_from_its_folder(builder: Builder, name: str) -> None:
    built = builder.build(name)
    assert (built.lib / "function" / "__init__.py").is_file()
    assert (built.lib / f"sensor_{name}" / "app.py").is_file()
    assert (built.lib / "sensor_shared").is_dir()
    others = {path.name for path in built.lib.glob("sensor_*") if path.is_dir()}
    assert {re.sub(r"-.*", "", other) for other in others} == {f"sensor_{name}", "sensor_shared"}


@pytest.mark.parametrize("name", ["consumer", "auth"])
def test_it_finds_everything_in_what_was_built(builder: Builder, name: str) -> None:
    """Nothing of this checkout and of its environment is on the path of the process."""
    built = builder.build(name)
    code = (
        "import cloudevents.v1, function, sensor_shared, func_python, importlib.util\n"
        "assert importlib.util.find_spec('functions_framework') is None\n"
        "print(*(m.__file__ for m in (cloudevents.v1, function, sensor_shared, func_python)))"
    )
    done = subprocess.run(
        [built.python, "-c", code],
        env={"PYTHONPATH": str(built.lib)},
        cwd=built.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert all(Path(path).is_relative_to(built.lib) for path in done.stdout.split())


def test_an_image_holds_no_more_than_its_function_needs(builder: Builder) -> None:
    def has(name: str, package: str) -> bool:
        return (builder.build(name).lib / package).is_dir()

    assert has("consumer", "confluent_kafka")
    assert not has("consumer", "fastapi")
    assert has("auth", "argon2")
    assert not any(has("auth", package) for package in ("pyarrow", "grpc", "confluent_kafka"))
    assert not any(has("gateway", package) for package in ("confluent_kafka", "aiomqtt", "argon2"))
