"""Every variable is a setting of its process; each setting that a cluster must give is given."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import BaseModel, SecretStr

from sensor_shared.runtime.settings import PREFIX

from .environment import SETTINGS, WORKDIR, is_file, processes, settings, variables, volume_of
from .rendered import Rendered

NOT_SETTINGS = {"TWINUP_FUNCTION", "TMPDIR"}
"""Which function the image starts, and where any program may write."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")
MAY_BE_LOOPBACK = {
    # What forwards to the process is queue-proxy in the same pod.
    ("auth", "server.trusted_proxies"),
    ("gateway", "server.trusted_proxies"),
    # This Service of alerts takes events; its gRPC server is not to be reached.
    ("alerts", "grpc.host"),
}


def leaves(model: BaseModel, path: str = "") -> Iterator[tuple[str, Any]]:
    for name in type(model).model_fields:
        value = getattr(model, name)
        where = f"{path}.{name}" if path else name
        if isinstance(value, BaseModel):
            yield from leaves(value, where)
        else:
            yield where, value


def secret_keys(model: type[BaseModel], path: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        where = f"{path}.{name}" if path else name
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from secret_keys(kind, where)
        elif "SecretStr" in str(kind):
            yield where


def test_every_process_of_ours_is_looked_at(dev: Rendered, production: Rendered) -> None:
    assert {pod.name for pod in processes(dev)} == set(SETTINGS)
    assert {pod.name for pod in processes(production)} == set(SETTINGS) - {"producer"}


def test_every_variable_is_a_setting_of_its_process(overlay: Rendered) -> None:
    wrong = []
    for pod in processes(overlay):
        sections = {name.upper(): f for name, f in SETTINGS[pod.name].model_fields.items()}
        for variable in variables(overlay, pod, pod.container):
            if variable in NOT_SETTINGS:
                continue
            section, _, key = variable.removeprefix(PREFIX).partition("_")
            field = sections.get(section)
            if field is None or key.lower() not in field.annotation.model_fields:  # type: ignore[union-attr]
                wrong.append(f"{pod.name}: {variable}")
    assert wrong == []


def test_every_process_takes_what_it_is_given(overlay: Rendered, tmp_path: Path) -> None:
    """Its own check of variables and file, as at its start, finds no mistake."""
    for pod in processes(overlay):
        settings(overlay, pod, tmp_path)


def test_no_setting_is_left_at_an_address_of_one_machine(overlay: Rendered, tmp_path: Path) -> None:
    left = [
        f"{pod.name}: {where} = {value}"
        for pod in processes(overlay)
        for where, value in leaves(settings(overlay, pod, tmp_path))
        if any(word in str(value) for word in LOOPBACK) and (pod.name, where) not in MAY_BE_LOOPBACK
    ]
    assert left == []


def test_every_secret_is_given(overlay: Rendered, tmp_path: Path) -> None:
    missing = []
    for pod in processes(overlay):
        given = dict(leaves(settings(overlay, pod, tmp_path)))
        for where in secret_keys(SETTINGS[pod.name]):
            value = given[where]
            secrets = list(value.values()) if isinstance(value, dict) else [value]
            if not secrets or secrets == [None] or secrets == [SecretStr("")]:
                missing.append(f"{pod.name}: {where}")
    # The mail sink of development takes mails from everybody, and there are no endpoints.
    sink = {
        f"{name}: {where}"
        for name in ("alerts", "alerts-grpc")
        for where in ("smtp.password", "webhook.secrets")
    }
    assert set(missing) == (sink if overlay.overlay == "dev" else set())


def test_no_secret_stands_in_the_manifests(overlay: Rendered, tmp_path: Path) -> None:
    assert overlay.of("Secret") == []
    for pod in processes(overlay):
        secret = {f"{PREFIX}{w.replace('.', '_').upper()}" for w in secret_keys(SETTINGS[pod.name])}
        plain = {entry["name"] for entry in pod.container.get("env", []) if "value" in entry}
        for source in pod.container["envFrom"]:
            if "configMapRef" in source:
                plain |= overlay.data(source["configMapRef"]["name"]).keys()
        assert not plain & secret, pod.name


def test_every_path_of_a_setting_is_in_a_volume(overlay: Rendered, tmp_path: Path) -> None:
    """Files in a mounted ConfigMap or secret, folders in a secret or in what outlives the pod."""
    for pod in processes(overlay):
        given = variables(overlay, pod, pod.container)
        for where, value in leaves(settings(overlay, pod, tmp_path)):
            if not isinstance(value, Path):
                continue
            path = PurePosixPath(given.get(f"{PREFIX}{where.replace('.', '_').upper()}", value))
            if where.endswith("_dir"):
                volume, _ = volume_of(pod, path) or ({}, None)
                assert {"persistentVolumeClaim", "secret"} & volume.keys(), (
                    f"{pod.name}: {where}: {path}"
                )
            else:
                assert is_file(overlay, pod, path), f"{pod.name}: {where}: {path}"


def test_the_commands_find_the_files_they_name(overlay: Rendered) -> None:
    """A file of a mounted ConfigMap, or the folder that one is mounted as."""
    looked_at = 0
    for pod in overlay.pods:
        for word in pod.container.get("command", []):
            if "/" not in word:
                continue
            looked_at += 1
            folders = {mount["mountPath"] for mount in pod.container["volumeMounts"]}
            path = PurePosixPath(word)
            found = str(WORKDIR / path) in folders or is_file(overlay, pod, path)
            assert found, f"{pod.name}: {word}"
    assert looked_at == (4 if overlay.overlay == "dev" else 1)


def test_every_process_listens_where_its_pod_is_called(overlay: Rendered, tmp_path: Path) -> None:
    for pod in processes(overlay):
        if pod.name == "migrations":
            continue
        given = dict(leaves(settings(overlay, pod, tmp_path)))
        assert (given["server.host"], given["server.port"]) == ("0.0.0.0", 8080), pod.name
        if pod.name == "alerts-grpc":
            assert (given["grpc.host"], pod.ports["user-port"]) == ("0.0.0.0", given["grpc.port"])
            assert pod.container["ports"][0]["name"] == "h2c"
        else:
            assert list(pod.ports.values()) == [8080], pod.name


def test_each_service_starts_its_own_function(overlay: Rendered) -> None:
    started = {
        pod.name: variables(overlay, pod, pod.container)["TWINUP_FUNCTION"]
        for pod in overlay.functions
    }
    assert started == {
        "consumer": "consumer", "analytics": "analytics", "alerts": "alerts",
        "alerts-grpc": "alerts", "auth": "auth", "gateway": "gateway",
    }  # fmt: skip


def test_both_services_of_alerts_differ_in_where_grpc_listens_alone(overlay: Rendered) -> None:
    http, grpc = (
        variables(overlay, overlay.pod(name), overlay.pod(name).container)
        for name in ("alerts", "alerts-grpc")
    )
    assert {name for name in http.keys() | grpc.keys() if http.get(name) != grpc.get(name)} == {
        "TWINUP_GRPC_HOST", "TWINUP_GRPC_PORT",
    }  # fmt: skip
