"""stack.yaml deploys our images with settings that exist, and subscribes nobody to a connector."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from .dockerfiles import ROOT, stages
from .processes import FUNCTIONS, leaves, loaded, unknown

STACK = yaml.safe_load((ROOT / "infra/openfaas/stack.yaml").read_text(encoding="utf-8"))
MOUNTED = "/var/openfaas/secrets"
SERVICES = ROOT / "infra/knative/base/functions"
every_function = pytest.mark.parametrize("name", FUNCTIONS)


def function(name: str) -> dict[str, Any]:
    found: dict[str, Any] = STACK["functions"][name]
    return found


def test_all_five_functions_are_deployed() -> None:
    assert STACK["provider"]["name"] == "openfaas"
    assert STACK["functions"].keys() == FUNCTIONS.keys()


@every_function
def test_a_function_is_our_image_as_it_is(name: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = function(name)
    assert found["image"] == f"ghcr.io/example/twinup-functions:{project['version']}"
    assert found["skip_build"] is True
    assert found["readonly_root_filesystem"] is True
    assert found["environment"]["TWINUP_FUNCTION"] == name


@every_function
def test_every_variable_is_one_that_the_function_reads(name: str) -> None:
    assert unknown(function(name)["environment"], FUNCTIONS[name]) == []


@every_function
def test_a_function_has_the_secrets_that_it_reads_and_no_other(name: str) -> None:
    found = function(name)
    read = set(re.findall(rf"{MOUNTED}/([\w-]+)", str(found["environment"])))
    assert read == set(found["secrets"])
    readme = (ROOT / "infra/openfaas/README.md").read_text(encoding="utf-8")
    created = re.search(r"for name in (.+); do", readme)
    assert created is not None
    assert read <= {*created[1].split(), *re.findall(r"secret create ([\w-]+) ", readme)}


@every_function
def test_no_address_is_left_at_this_machine(name: str, tmp_path: Path) -> None:
    given = stages("functions")[-1].environment() | function(name)["environment"]
    for secret in function(name)["secrets"]:
        (tmp_path / secret).write_text("a secret of the tests")
    moved = {key: value.replace(MOUNTED, str(tmp_path)) for key, value in given.items()}
    values = leaves(loaded(name, FUNCTIONS[name], moved, tmp_path))
    assert [at for at, value in values if re.search(r"127\.0\.0\.1|localhost", str(value))] == []


@every_function
def test_nobody_is_subscribed_to_the_connector_that_would_lose_events(name: str) -> None:
    """It acknowledges any answer, and to what it sends the answer is 400."""
    found = function(name)
    assert "topic" not in found["annotations"]
    assert found["annotations"]["com.openfaas.health.http.path"] == "/health/liveness"
    assert found["annotations"]["com.openfaas.ready.http.path"] == "/health/readiness"
    assert found["labels"]["com.openfaas.scale.zero"] == "false"


@every_function
def test_a_function_is_as_many_and_as_large_as_on_knative(name: str) -> None:
    service = yaml.safe_load((SERVICES / f"{name}.yaml").read_text(encoding="utf-8"))
    template = service["spec"]["template"]
    found = function(name)
    (container,) = template["spec"]["containers"]
    limits = {kind: found[kind] for kind in ("requests", "limits")}
    assert limits == container["resources"]
    scale = {
        f"autoscaling.knative.dev/{knative}": found["labels"][f"com.openfaas.scale.{openfaas}"]
        for knative, openfaas in (("min-scale", "min"), ("max-scale", "max"), ("target", "target"))
    }
    assert scale.items() <= template["metadata"]["annotations"].items()


@every_function
def test_every_part_is_named_as_the_namespace_names_it(name: str) -> None:
    """By a Service of infra/knative/parts, or Strimzi's for the Kafka there."""
    parts = {"kafka-kafka-bootstrap"}
    for file in (ROOT / "infra/knative/parts").glob("*.yaml"):
        documents = filter(None, yaml.safe_load_all(file.read_text(encoding="utf-8")))
        parts |= {d["metadata"]["name"] for d in documents if d["kind"] == "Service"}
    hosts = re.findall(r"([a-z-]+)\.twinup-sensors\b", str(function(name)["environment"]))
    assert {"clickhouse", "redis"} <= set(hosts) <= parts
