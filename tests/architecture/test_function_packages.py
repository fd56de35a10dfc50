"""Each function is a package that `func` builds from its folder alone; so is what they share."""

import json
import os
import re
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
FUNCTIONS = ("consumer", "analytics", "alerts", "auth", "gateway")
SCHEMAS = os.environ.get("TWINUP_SCHEMAS_DIR")
SERVICES = ROOT / "infra/knative/base/functions"
WHEEL = "{root:uri}/vendor/sensor_shared-0.1.0-py3-none-any.whl"


def project(folder: str) -> dict[str, Any]:
    document = tomllib.loads((ROOT / folder / "pyproject.toml").read_text(encoding="utf-8"))
    table: dict[str, Any] = document["project"]
    return table


def func_yaml(function: str) -> dict[str, Any]:
    text = (ROOT / "functions" / function / "func.yaml").read_text(encoding="utf-8")
    document: dict[str, Any] = yaml.load(text, yaml.BaseLoader)  # noqa: S506  (only strings)
    return document


def requirements(folder: str) -> list[Requirement]:
    """What a package needs of the world outside, with all its extras."""
    table = project(folder)
    extras = table.get("optional-dependencies", {}).values()
    texts = [*table["dependencies"], *(text for extra in extras for text in extra)]
    return [Requirement(text) for text in texts if "{root:uri}" not in text]


@pytest.mark.parametrize("folder", ["shared", *(f"functions/{name}" for name in FUNCTIONS)])
def test_bounds_are_those_of_the_root(folder: str) -> None:
    bounds = {found.name: found for found in map(Requirement, project(".")["dependencies"])}
    for found in requirements(folder):
        root = bounds[found.name]
        assert found.extras == root.extras
        # func-python needs version 2 of cloudevents; only functions-framework is bound to 1.
        either = found.name == "cloudevents" and str(found.specifier) == ">=1.12"
        assert either or found.specifier == root.specifier, found.name


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_names_the_vendored_wheel_with_extras_that_exist(function: str) -> None:
    (shared,) = (
        text for text in project(f"functions/{function}")["dependencies"] if "{root:uri}" in text
    )
    found = re.fullmatch(r"sensor-shared\[([a-z,]+)\] @ (\S+)", shared)
    assert found is not None
    assert found[2] == WHEEL
    # functions-framework is the other runtime; func's middleware cannot be installed beside it.
    assert set(found[1].split(",")) < project("shared")["optional-dependencies"].keys() - {
        "framework"
    }
    assert project("shared")["version"] == project(".")["version"]


def test_under_func_every_package_has_the_version_that_is_tested_here() -> None:
    """But for cloudevents, whose two majors are why the two runtimes exist side by side."""

    def pins(path: str) -> set[tuple[str, str]]:
        text = (ROOT / path).read_text(encoding="utf-8")
        return set(re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.MULTILINE))

    here, under_func = pins("requirements.lock"), pins("functions/requirements-func.lock")
    tested = {name for name, _ in here}
    assert {name for name, _ in under_func - here if name in tested} == {"cloudevents"}
    assert ("func-python", "0.8.1") in under_func


@pytest.mark.skipif(SCHEMAS is None, reason="TWINUP_SCHEMAS_DIR names no folder of schemas")
@pytest.mark.parametrize("function", FUNCTIONS)
def test_func_yaml_keeps_to_its_schema(function: str) -> None:
    schema = json.loads((Path(SCHEMAS or "") / "func_yaml-schema.json").read_text())
    # The program knows the host builder; the schema that it publishes does not.
    schema["definitions"]["BuildSpec"]["properties"]["builder"]["enum"].append("host")
    text = (ROOT / "functions" / function / "func.yaml").read_text(encoding="utf-8")
    document = yaml.safe_load(text)
    # YAML reads a moment where JSON has text.
    document["created"] = func_yaml(function)["created"]
    jsonschema.Draft4Validator(schema).validate(document)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_func_yaml_is_the_form_that_func_writes(function: str) -> None:
    """In the order of its fields and without comments, so that a build changes nothing in it."""
    document = func_yaml(function)
    order = ["specVersion", "name", "runtime", "namespace", "created", "invoke"]
    assert list(document) == [*order, "build", "run", "deploy"]
    assert (document["name"], document["invoke"]) == (function, "http")
    assert document["build"] == {"builder": "host", "baseImage": "python:3.11-slim"}
    assert set(document["deploy"]["healthEndpoints"].values()) == {
        "/health/liveness",
        "/health/readiness",
    }
    text = (ROOT / "functions" / function / "func.yaml").read_text(encoding="utf-8")
    assert "#" not in text


@pytest.mark.skipif(not SERVICES.is_dir(), reason="there are no Knative Services")
@pytest.mark.parametrize("function", FUNCTIONS)
def test_func_deploys_what_the_knative_service_says(function: str) -> None:
    """Scale, resources, rights, visibility and what the environment is taken from are the same."""
    service = yaml.safe_load((SERVICES / f"{function}.yaml").read_text(encoding="utf-8"))
    (container,) = service["spec"]["template"]["spec"]["containers"]
    deploy = func_yaml(function)["deploy"]
    limits = deploy["options"]["resources"]["limits"]
    concurrency = int(limits.pop("concurrency"))
    assert deploy["options"]["resources"] == container["resources"]
    assert concurrency == service["spec"]["template"]["spec"]["containerConcurrency"]
    assert deploy["serviceAccountName"] == service["spec"]["template"]["spec"]["serviceAccountName"]
    assert {
        f"autoscaling.knative.dev/{name}": value
        for name, value in zip(
            ("min-scale", "max-scale", "metric", "target"),
            deploy["options"]["scale"].values(),
            strict=True,
        )
    } == service["spec"]["template"]["metadata"]["annotations"]
    labels = {label["key"]: label["value"] for label in deploy.get("labels", [])}
    # func puts the same labels on Service and pods; network policies and PodMonitors ask for them.
    assert labels == service["metadata"].get("labels", {}) | of_every_pod()
    assert under_func(function) == in_the_service(container)


def of_every_pod() -> dict[str, str]:
    """Labels that infra/knative adds to the pods of each function."""
    found: dict[str, str] = {}
    for folder in (SERVICES, SERVICES.parent):
        text = (folder / "kustomization.yaml").read_text(encoding="utf-8")
        for entry in yaml.safe_load(text)["labels"]:
            found |= entry["pairs"]
    assert found.keys() == {"app.kubernetes.io/component", "app.kubernetes.io/part-of"}
    return found


def under_func(function: str) -> set[tuple[str, str]]:
    """Variables, and the objects that are taken whole, without the places of files."""
    envs = func_yaml(function)["run"]["envs"]
    places = {"TWINUP_CONFIG_DIR", "TWINUP_BREACHES_RULES"}
    return {(env.get("name", ""), env["value"]) for env in envs if env.get("name") not in places}


def in_the_service(container: dict[str, Any]) -> set[tuple[str, str]]:
    """The same of a Knative Service; what it says about its image's own server is left out."""
    own = {"TWINUP_FUNCTION", "TWINUP_SERVER_HOST", "TWINUP_SERVER_PORT"}
    found = set()
    for env in container["env"]:
        secret = env.get("valueFrom", {}).get("secretKeyRef", {})
        value = env.get("value") or f"{{{{ secret:{secret['name']}:{secret['key']} }}}}"
        found.add((env["name"], value))
    for source in container["envFrom"]:
        for kind in ("configMap", "secret"):
            reference = source.get(f"{kind}Ref", {"optional": True})
            if not reference.get("optional"):  # func has no word for what may be missing
                found.add(("", f"{{{{ {kind}:{reference['name']} }}}}"))
    return {(name, value) for name, value in found if name not in own}
