"""The Compose files hold together: nothing is left to be found by the first container."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from graphlib import TopologicalSorter
from pathlib import Path

import jsonschema
import pytest

from .compose import (
    EVERY,
    FOLDER,
    GIVEN,
    MODELS,
    OURS,
    PARTS,
    PRODUCTION,
    WHOLE,
    document,
    environment,
    is_job,
    is_ours,
    published,
    service,
    source,
    target,
)
from .dockerfiles import ROOT, stages

SCALED = ("consumer", "analytics", "alerts")
every_service = pytest.mark.parametrize(("kind", "name"), EVERY)
every_service_of_ours = pytest.mark.parametrize(("kind", "name"), OURS)


@pytest.mark.parametrize("file", [WHOLE, PARTS, PRODUCTION])
def test_a_file_is_valid_by_the_compose_specification(file: str) -> None:
    folder = os.environ.get("TWINUP_SCHEMAS_DIR")
    if not folder:
        pytest.skip("TWINUP_SCHEMAS_DIR names no folder with compose-spec.json")
    schema = json.loads((Path(folder) / "compose-spec.json").read_text(encoding="utf-8"))
    validator = jsonschema.Draft7Validator(schema)
    assert [f"{e.json_path}: {e.message}" for e in validator.iter_errors(document(file))] == []


@pytest.mark.parametrize(("files", "kind"), [
    ([PARTS], "parts"), ([WHOLE], "whole"), ([WHOLE, PRODUCTION], "production"),
])  # fmt: skip
def test_docker_compose_itself_reads_the_same(files: list[str], kind: str) -> None:
    """So that what the other tests see is what runs."""
    done = compose(*files, given={**GIVEN, "COMPOSE_PROFILES": "*"})
    assert done.returncode == 0, done.stderr
    theirs = json.loads(done.stdout)
    assert theirs["services"].keys() == MODELS[kind]["services"].keys()
    for name, found in theirs["services"].items():
        ours = service(kind, name)
        assert found["image"] == ours["image"]
        given = {
            key: value.replace("$$", "$") for key, value in found.get("environment", {}).items()
        }
        assert given == environment(ours)
        ports = [(p["host_ip"], int(p["published"]), p["target"]) for p in found.get("ports", [])]
        assert ports == published(ours)
        assert [one["source"] for one in found.get("secrets", [])] == ours.get("secrets", [])
        binds = [one for one in found.get("volumes", []) if one["type"] == "bind"]
        assert {one["target"]: (one["source"], one.get("read_only")) for one in binds} == {
            target(volume): (str(path), True)
            for volume in ours.get("volumes", [])
            if (path := source(volume)) is not None
        }
    assert theirs.get("secrets", {}).keys() == MODELS[kind]["secrets"].keys()


def test_docker_compose_refuses_to_start_without_grafanas_password() -> None:
    done = compose(WHOLE, given={})
    assert done.returncode != 0
    assert "GRAFANA_PASSWORD is missing a value: set it in infra/compose/.env" in done.stderr


def compose(*files: str, given: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    program = shutil.which("docker-compose", path=path)
    if program is None:
        pytest.skip("docker-compose is not installed; .ci/run builds it")
    named = [word for file in files for word in ("--file", str(FOLDER / file))]
    return subprocess.run(
        [program, "--env-file", os.devnull, *named, "config", "--format", "json"],
        env={"PATH": path, "HOME": os.environ.get("HOME", "/"), **given},
        capture_output=True,
        text=True,
        check=False,
    )


@every_service
def test_an_image_has_a_version_and_ours_the_projects(kind: str, name: str) -> None:
    found = service(kind, name)
    repository, _, tag = found["image"].rpartition(":")
    assert re.fullmatch(r"v?\d+\.\d+(\.\d+)?(-\w+)?", tag)
    if is_ours(found):
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        assert tag == project["version"]
        image = repository.removeprefix("ghcr.io/example/twinup-")
        assert found["build"]["dockerfile"] == f"infra/images/{image}.Dockerfile"
        assert stages(image)
        assert (FOLDER / found["build"]["context"]).resolve() == ROOT


def test_parts_have_the_versions_that_the_tests_run_on() -> None:
    images = {name: one["image"] for name, one in MODELS["whole"]["services"].items()}
    jars = (ROOT / "infra/local/kafka.lock").read_text(encoding="utf-8")
    kafka = re.search(r"kafka_2\.13[-:= ](\d[\d.]*\d)", jars)
    engine = re.search(
        r"^chdb-core==(\d+\.\d+)", (ROOT / "requirements.lock").read_text("utf-8"), re.MULTILINE
    )
    assert kafka is not None
    assert engine is not None
    assert images["kafka"] == f"apache/kafka:{kafka[1]}"
    assert images["clickhouse"] == f"clickhouse/clickhouse-server:{engine[1]}"


@every_service
def test_a_service_says_whether_it_can_work_and_waits_for_those_that_do(
    kind: str, name: str
) -> None:
    found = service(kind, name)
    assert is_job(found) or found["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
    for other, how in found.get("depends_on", {}).items():
        ends = is_job(service(kind, other))
        expected = "service_completed_successfully" if ends else "service_healthy"
        assert how["condition"] == expected, f"{name} waits for {other}"


@pytest.mark.parametrize("kind", MODELS)
def test_nobody_waits_in_a_circle_or_for_what_only_a_profile_starts(kind: str) -> None:
    services = MODELS[kind]["services"]
    TopologicalSorter(
        {n: one.get("depends_on", {}).keys() for n, one in services.items()}
    ).prepare()
    optional = {name for name, one in services.items() if one.get("profiles")}
    waiting = {
        (name, other)
        for name, one in services.items()
        for other in one.get("depends_on", {})
        if other in optional and name not in optional
    }
    assert waiting == set()


@pytest.mark.parametrize("kind", MODELS)
def test_a_port_is_published_once_and_on_the_loopback_interface_alone(kind: str) -> None:
    ports = [port for one in MODELS[kind]["services"].values() for port in published(one)]
    assert {address for address, _, _ in ports} == {"127.0.0.1"}
    outer = [port for _, port, _ in ports]
    assert sorted(set(outer)) == sorted(outer)


@every_service
def test_nothing_is_named_so_that_there_could_be_only_one(kind: str, name: str) -> None:
    """Names and ports that are fixed would make `--scale consumer=3` fail."""
    found = service(kind, name)
    assert {"container_name", "hostname", "network_mode", "expose"} & found.keys() == set()
    if name in SCALED:
        assert published(found) == []


def test_the_entrances_are_where_people_expect_them() -> None:
    outer = {
        name: [port for _, port, _ in published(one)]
        for name, one in MODELS["whole"]["services"].items()
        if published(one)
    }
    assert (outer["gateway"], outer["auth"], outer["grafana"]) == ([8081], [8082], [3000])
    grafana = environment(service("whole", "grafana"))
    assert grafana["GF_SECURITY_ADMIN_USER"] == "admin"
    assert grafana["GF_SECURITY_ADMIN_PASSWORD"] == GIVEN["GRAFANA_PASSWORD"]


@every_service_of_ours
def test_our_containers_may_do_nothing_but_their_work(kind: str, name: str) -> None:
    found = service(kind, name)
    assert found["read_only"] is True
    assert found["cap_drop"] == ["ALL"]
    assert found["security_opt"] == ["no-new-privileges:true"]
    assert found["tmpfs"][0].startswith("/tmp:")  # noqa: S108 - the container's
    assert "user" not in found, "the image's own, which is not root"
    assert "privileged" not in found


def test_production_limits_everything_and_starts_it_again() -> None:
    for name, one in MODELS["production"]["services"].items():
        limits = one["deploy"]["resources"]["limits"]
        assert {"cpus", "memory", "pids"} == limits.keys(), name
        if not is_job(one):
            assert one["restart"] == "unless-stopped", name
            assert one["logging"]["options"].keys() == {"max-size", "max-file"}, name


def test_production_publishes_the_entrances_alone() -> None:
    services = MODELS["production"]["services"]
    assert {name for name, one in services.items() if published(one)} == {
        "gateway", "auth", "grafana",
    }  # fmt: skip


def test_production_starts_no_simulated_device() -> None:
    services = MODELS["production"]["services"]
    assert {name for name, one in services.items() if one.get("profiles") == ["simulation"]} == {
        "producer", "mailpit",
    }  # fmt: skip


def test_shellcheck_finds_nothing() -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    shellcheck = shutil.which("shellcheck", path=path)
    if shellcheck is None:
        pytest.skip("shellcheck is not installed")
    done = subprocess.run([shellcheck, FOLDER / "secrets.sh"], capture_output=True, check=False)
    assert done.returncode == 0, done.stdout
