"""Every rendered object is one that a cluster takes."""

import os
from pathlib import Path

import kubernetes_validate
import pytest

from .rendered import KNATIVE, OVERLAYS, Rendered, render
from .schemas import definitions, mistakes, strict

KUBERNETES = "1.34"
"""Fields that are newer than this release are not used."""
CORE_GROUPS = {"", "apps", "batch", "policy", "networking.k8s.io", "rbac.authorization.k8s.io"}


@pytest.fixture(params=(*OVERLAYS, "func"))
def overlay(request: pytest.FixtureRequest) -> Rendered:
    return render(str(request.param))


def group(api_version: str) -> str:
    return api_version.rpartition("/")[0]


def test_every_object_of_kubernetes_own_kinds_fits_its_schema(overlay: Rendered) -> None:
    wrong = []
    checked = 0
    for thing in overlay.objects:
        if group(thing["apiVersion"]) not in CORE_GROUPS:
            continue
        checked += 1
        try:
            kubernetes_validate.validate(thing, KUBERNETES, strict=True)
        except kubernetes_validate.ValidationError as error:
            where = ".".join(map(str, error.path))
            wrong.append(f"{thing['kind']} {thing['metadata']['name']}: {where}: {error.message}")
    assert wrong == []
    assert checked > 20


@pytest.fixture
def crds() -> Path:
    folder = os.environ.get("TWINUP_SCHEMAS_DIR")
    if not folder:
        pytest.skip("TWINUP_SCHEMAS_DIR names no folder with CustomResourceDefinitions")
    return Path(folder)


def test_every_custom_resource_fits_its_schema(overlay: Rendered, crds: Path) -> None:
    """Unknown fields are mistakes; rules in CEL (x-kubernetes-validations) are not run."""
    schemas = definitions(crds)
    wrong = []
    checked = set()
    for thing in overlay.objects:
        kind = (thing["apiVersion"], thing["kind"])
        if group(thing["apiVersion"]) in CORE_GROUPS:
            continue
        assert kind in schemas, f"no schema for {kind}"
        checked.add(thing["kind"])
        wrong += [
            f"{thing['kind']} {thing['metadata']['name']}: {mistake}"
            for mistake in mistakes(schemas[kind], thing)
        ]
    assert wrong == []
    assert checked >= {"Service", "KafkaSource", "KafkaSink", "PingSource", "KafkaTopic"}


def test_a_field_that_no_schema_knows_is_found(crds: Path) -> None:
    schema = definitions(crds)["serving.knative.dev/v1", "Service"]
    service = render("dev").one("Service", "consumer", "serving.knative.dev/v1")
    assert mistakes(schema, service) == []
    typo = {**service, "spec": {**service["spec"], "tempalte": {}}}
    assert mistakes(schema, typo) == [
        "$.spec: Additional properties are not allowed ('tempalte' was unexpected)"
    ]


def test_strictness_leaves_free_fields_alone() -> None:
    free = {"type": "object", "properties": {}, "x-kubernetes-preserve-unknown-fields": True}
    schema = strict({"type": "object", "properties": {"spec": {"properties": {"any": free}}}})
    assert mistakes(schema, {"kind": "X", "spec": {"any": {"thing": 1}}}) == []
    assert mistakes(schema, {"kind": "X", "spec": {"other": 1}}) != []


def test_every_overlay_is_checked() -> None:
    files = (KNATIVE / "overlays").glob("*/kustomization.yaml")
    assert {file.parent.name for file in files} == {*OVERLAYS, "func"}
