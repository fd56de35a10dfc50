"""What an overlay renders to, and its pods as a cluster would make them."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
KNATIVE = ROOT / "infra" / "knative"
OVERLAYS = ("dev", "production")
"""That have all Services; `func` is compared with `dev`."""
SERVING = "serving.knative.dev/v1"
NAMESPACE = "twinup-sensors"

Manifest = dict[str, Any]


def kustomize() -> list[str] | None:
    """The command that renders a folder: TWINUP_KUSTOMIZE, kustomize, or kubectl's own."""
    for name, rest in (
        (os.environ.get("TWINUP_KUSTOMIZE", "kustomize"), ["build"]),
        ("kubectl", ["kustomize"]),
    ):
        if found := shutil.which(name):
            return [found, *rest]
    return None


@cache
def render(overlay: str) -> "Rendered":
    command = kustomize()
    if command is None:
        pytest.skip("neither kustomize nor kubectl on PATH, and TWINUP_KUSTOMIZE names none")
    done = subprocess.run(
        [*command, str(KNATIVE / "overlays" / overlay)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return Rendered(overlay, tuple(yaml.safe_load_all(done.stdout)))


@dataclass(frozen=True)
class Pod:
    """A pod as its owner makes it."""

    owner: Manifest
    labels: Mapping[str, str]
    spec: Manifest
    replicas: tuple[int, int]
    """At least and at most."""

    @property
    def name(self) -> str:
        return str(self.owner["metadata"]["name"])

    @property
    def container(self) -> Manifest:
        (container,) = self.spec["containers"]
        assert isinstance(container, dict)
        return container

    @property
    def containers(self) -> list[Manifest]:
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]

    @property
    def ports(self) -> dict[str, int]:
        """Ports by name; Knative names a function's own one `user-port`."""
        ports = self.container.get("ports", [])
        if self.owner["apiVersion"] == SERVING:
            return {"user-port": ports[0]["containerPort"]}
        return {port["name"]: port["containerPort"] for port in ports}


@dataclass(frozen=True)
class Rendered:
    """All objects of one overlay."""

    overlay: str
    objects: tuple[Manifest, ...]

    def of(self, kind: str, api: str | None = None) -> list[Manifest]:
        return [o for o in self.objects if o["kind"] == kind and api in (None, o["apiVersion"])]

    def one(self, kind: str, name: str, api: str | None = None) -> Manifest:
        (found,) = (o for o in self.of(kind, api) if o["metadata"]["name"] == name)
        return found

    def data(self, config_map: str) -> dict[str, str]:
        """What a ConfigMap holds; a generated one is named by what stands before its hash."""
        (found,) = (
            o["data"]
            for o in self.of("ConfigMap")
            if config_map in (o["metadata"]["name"], o["metadata"]["name"].rpartition("-")[0])
        )
        assert isinstance(found, dict)
        return found

    def names(self, kind: str, api: str | None = None) -> set[str]:
        return {o["metadata"]["name"] for o in self.of(kind, api)}

    @property
    def functions(self) -> list[Pod]:
        return [pod for pod in self.pods if pod.owner["apiVersion"] == SERVING]

    @property
    def pods(self) -> list[Pod]:
        return list(self._pods())

    def pod(self, name: str) -> Pod:
        (pod,) = (pod for pod in self.pods if pod.name == name)
        return pod

    def _pods(self) -> Iterator[Pod]:
        for o in self.of("Service", SERVING):
            template = o["spec"]["template"]
            scale = template["metadata"]["annotations"]
            own = {"serving.knative.dev/service": o["metadata"]["name"]}
            yield Pod(
                o,
                template["metadata"]["labels"] | own,
                template["spec"],
                (
                    int(scale["autoscaling.knative.dev/min-scale"]),
                    int(scale["autoscaling.knative.dev/max-scale"]),
                ),
            )
        for kind in ("Deployment", "StatefulSet", "Job"):
            for o in self.of(kind):
                template, count = o["spec"]["template"], o["spec"].get("replicas", 1)
                yield Pod(o, template["metadata"]["labels"], template["spec"], (count, count))


def selects(selector: Manifest, labels: Mapping[str, str]) -> bool:
    """Whether a label selector takes these labels."""
    for key, value in selector.get("matchLabels", {}).items():
        if labels.get(key) != value:
            return False
    for rule in selector.get("matchExpressions", []):
        key, values = rule["key"], rule.get("values", [])
        taken = {
            "In": labels.get(key) in values,
            "NotIn": labels.get(key) not in values,
            "Exists": key in labels,
            "DoesNotExist": key not in labels,
        }[rule["operator"]]
        if not taken:
            return False
    return True
