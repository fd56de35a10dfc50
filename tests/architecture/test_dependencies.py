"""Imports go one way: sensor_<function> → sensor_shared → third party; a domain does no I/O."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FUNCTIONS = ("consumer", "analytics", "alerts", "auth", "gateway")
SOURCES = {
    "sensor_shared": ROOT / "shared/src/sensor_shared",
    "sensor_dispatcher": ROOT / "eventing/dispatcher/src/sensor_dispatcher",
    "sensor_producer": ROOT / "load/producer/src/sensor_producer",
    "sensor_local": ROOT / "infra/local/src/sensor_local",
    **{f"sensor_{name}": ROOT / f"functions/{name}/src/sensor_{name}" for name in FUNCTIONS},
}
MAY_IMPORT = {
    "sensor_shared": {"sensor_shared"},
    "sensor_dispatcher": {"sensor_dispatcher", "sensor_shared"},
    "sensor_producer": {"sensor_producer", "sensor_shared"},
    # The local stack knows the producer's ledger, which its audit compares with the database, and
    # how the dispatcher delivers, which a replay repeats.
    "sensor_local": {"sensor_local", "sensor_shared", "sensor_producer", "sensor_dispatcher"},
    **{f"sensor_{name}": {f"sensor_{name}", "sensor_shared"} for name in FUNCTIONS},
}
PURE = {"msgspec", "numpy", "pyarrow", "pydantic", "yaml", "uuid_utils", "cronsim"}
IMPURE_STANDARD = {
    "asyncio", "socket", "subprocess", "threading", "http", "urllib", "smtplib", "os", "shutil",
    "tempfile", "logging", "signal", "ssl", "selectors", "multiprocessing",
}  # fmt: skip


def modules(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""


def is_ours(name: str) -> bool:
    return name.startswith("sensor_")


@pytest.mark.parametrize("package", SOURCES)
def test_a_package_imports_only_what_lies_below_it(package: str) -> None:
    found = modules(SOURCES[package])
    assert found, f"{package} has no modules"
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in found
        for name in imports(path)
        if is_ours(name) and name.partition(".")[0] not in MAY_IMPORT[package]
    ]
    assert wrong == []


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_domain_imports_no_io(function: str) -> None:
    source = SOURCES[f"sensor_{function}"]
    domain = [p for p in modules(source) if "domain" in p.relative_to(source).with_suffix("").parts]
    wrong = []
    for path in domain:
        for name in imports(path):
            top = name.partition(".")[0]
            pure = (
                (top in sys.stdlib_module_names and top not in IMPURE_STANDARD)
                or top in PURE
                or name.startswith((f"sensor_{function}.domain", "sensor_shared.contracts"))
            )
            if not pure:
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert wrong == []


def test_contracts_do_no_io() -> None:
    """The types that everybody shares depend on nothing but data libraries."""
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules(SOURCES["sensor_shared"] / "contracts")
        for name in imports(path)
        if name.partition(".")[0] in IMPURE_STANDARD
        or (is_ours(name) and not name.startswith("sensor_shared.contracts"))
    ]
    assert wrong == []


@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_function_has_the_same_layout(function: str) -> None:
    folder = ROOT / "functions" / function
    for name in ("func.yaml", "pyproject.toml", "function/__init__.py", "tests"):
        assert (folder / name).exists(), f"functions/{function}/{name}"
    for module in ("app", "settings"):
        assert (SOURCES[f"sensor_{function}"] / f"{module}.py").is_file()


def test_no_module_outgrows_one_sitting() -> None:
    """Past 300 lines a module has a seam to be found."""
    long = {
        str(path.relative_to(ROOT)): lines
        for folder in SOURCES.values()
        for path in modules(folder)
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 300
    }
    assert long == {}


def test_only_settings_and_composition_roots_read_the_environment() -> None:
    """Configuration is a value: everything else is handed what it needs."""
    commands = {"migrations.py", "recovery.py", "rotation.py"}
    allowed = {"app.py", "main.py", "__main__.py", "settings.py"} | commands
    readers = [
        str(path.relative_to(ROOT))
        for package, folder in SOURCES.items()
        if package != "sensor_local"  # it hands the environment on to the processes it starts
        for path in modules(folder)
        if "os.environ" in path.read_text(encoding="utf-8") and path.name not in allowed
    ]
    assert readers == []
