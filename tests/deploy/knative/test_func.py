"""The overlay for func is development without the Services that func deploys, under plain names.

So what the other tests prove of development's objects holds for these too.
"""

import re
from typing import Any

import pytest
import yaml

from . import contract
from .rendered import NAMESPACE, ROOT, SERVING, Rendered, render

FUNCTIONS = ("consumer", "analytics", "alerts", "auth", "gateway")
PLAIN = {"kafka", "clickhouse", "redis", "mqtt", "smtp", "proxies", "configs"}
REFERENCE = re.compile(r"\{\{ (configMap|secret):([a-z-]+)(?::([\w.-]+))? \}\}")


@pytest.fixture
def overlay() -> Rendered:
    return render("func")


def plain(thing: Any, names: dict[str, str]) -> Any:
    """An object with other names, wherever it says them."""
    if isinstance(thing, dict):
        return {key: plain(value, names) for key, value in thing.items()}
    if isinstance(thing, list):
        return [plain(value, names) for value in thing]
    return names.get(thing, thing) if isinstance(thing, str) else thing


def test_it_is_development_but_for_five_services_and_the_hashes(
    overlay: Rendered, dev: Rendered
) -> None:
    hashed = {name.rpartition("-")[0]: name for name in dev.names("ConfigMap")}
    names = {hashed[name]: name for name in PLAIN}
    expected = [
        plain(o, names)
        for o in dev.objects
        if (o["apiVersion"], o["metadata"]["name"]) not in {(SERVING, name) for name in FUNCTIONS}
    ]
    assert len(expected) == len(dev.objects) - len(FUNCTIONS)

    def sort(objects: list[Any]) -> list[Any]:
        return sorted(objects, key=lambda o: (o["kind"], o["metadata"]["name"]))

    assert sort(list(overlay.objects)) == sort(expected)
    assert overlay.names("Service", SERVING) == {"alerts-grpc"}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_everything_that_func_yaml_names_is_there(overlay: Rendered, name: str) -> None:
    file = ROOT / "functions" / name / "func.yaml"
    document = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert document["namespace"] == NAMESPACE
    assert document["deploy"]["serviceAccountName"] in overlay.names("ServiceAccount")
    maps: set[str] = set()
    secrets: dict[str, set[str]] = {}
    for volume in document["run"]["volumes"]:
        if "configMap" in volume:
            maps.add(volume["configMap"])
        else:
            secrets.setdefault(volume["secret"], set())
    for env in document["run"]["envs"]:
        for kind, reference, key in REFERENCE.findall(env["value"]):
            if kind == "configMap":
                maps.add(reference)
            else:
                secrets.setdefault(reference, set()).update({key} - {""})
    assert {"configs", "clickhouse", "redis"} <= maps <= overlay.names("ConfigMap")
    assert secrets
    for secret, keys in secrets.items():
        assert keys <= contract.fresh()[secret].keys()


def test_every_plain_name_is_one_that_a_func_yaml_says(overlay: Rendered) -> None:
    text = "".join((ROOT / "functions" / n / "func.yaml").read_text("utf-8") for n in FUNCTIONS)
    assert overlay.names("ConfigMap") & PLAIN == PLAIN
    assert set(re.findall(r"configMap: ?([a-z]+)", text)) == PLAIN
