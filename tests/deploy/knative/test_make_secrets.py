"""The Job of the development overlay makes each secret once, and shows none."""

import ast
import json
import re
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from . import contract
from .rendered import NAMESPACE, ROOT, Rendered

PATH = f"/api/v1/namespaces/{NAMESPACE}/secrets"


@dataclass
class ApiServer:
    """Answers a POST of a secret as Kubernetes does."""

    url: str = ""
    kept: dict[str, dict[str, Any]] = field(default_factory=dict)
    refuses: bool = False

    def create(self, path: str, token: str, document: dict[str, Any]) -> int:
        if self.refuses or token != "Bearer the-token":
            return 403
        if path != PATH or (document["apiVersion"], document["kind"]) != ("v1", "Secret"):
            return 404
        name = document["metadata"]["name"]
        if name in self.kept:
            return 409
        self.kept[name] = document["stringData"]
        return 201


@pytest.fixture
def api() -> Iterator[ApiServer]:
    kubernetes = ApiServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = kubernetes.create(self.path, self.headers["Authorization"], json.loads(body))
            self.send_response(status)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    kubernetes.url = f"http://127.0.0.1:{server.server_port}"
    yield kubernetes
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def account(tmp_path: Path) -> Path:
    (tmp_path / "namespace").write_text(NAMESPACE)
    (tmp_path / "token").write_text("the-token\n")
    return tmp_path


def test_every_secret_is_made_once_and_none_is_shown(
    api: ApiServer, account: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = contract.script()
    script.main(api.url, account)
    made = {name: dict(values) for name, values in api.kept.items()}
    assert {name: frozenset(values) for name, values in made.items()} == {
        name: keys for name, keys in contract.listed().items() if name not in contract.OUTSIDE
    }
    script.main(api.url, account)
    assert api.kept == made
    shown = capsys.readouterr().out
    assert [line.split()[0] for line in shown.splitlines()] == ["made"] * 6 + ["kept"] * 6
    values = {v for keys in made.values() for v in keys.values()} - {"twinup"}
    assert not any(value in shown for value in values)


def test_a_refusal_ends_the_job_with_an_error(api: ApiServer, account: Path) -> None:
    """So that Kubernetes starts it again."""
    api.refuses = True
    with pytest.raises(HTTPError, match="403"):
        contract.script().main(api.url, account)


def test_the_signing_key_is_one_that_auth_reads_and_secrets_are_never_the_same() -> None:
    one, other = contract.script().fresh(), contract.script().fresh()
    pem = one["auth-signing-key"]["signing-key.pem"].encode()
    assert isinstance(load_pem_private_key(pem, password=None), Ed25519PrivateKey)
    for name, values in one.items():
        for key in values.keys() - {"TWINUP_MQTT_USERNAME"}:
            assert values[key] != other[name][key]
            assert len(values[key]) >= 20


def test_the_pod_is_given_the_script_and_the_right_that_it_needs(dev: Rendered) -> None:
    pod = dev.pod("make-secrets")
    (mount,) = pod.container["volumeMounts"]
    folder, _, file = pod.container["command"][1].rpartition("/")
    assert folder == mount["mountPath"]
    assert dev.data("make-secrets")[file] == contract.MADE_BY.read_text(encoding="utf-8")
    (binding,) = dev.of("RoleBinding")
    assert binding["subjects"][0]["name"] == pod.spec["serviceAccountName"]


def test_the_image_holds_every_package_that_the_script_imports(dev: Rendered) -> None:
    image = dev.pod("make-secrets").container["image"].rpartition(":")[0]
    name = image.removeprefix("ghcr.io/example/twinup-")
    lock = (ROOT / "infra/images" / f"{name}.lock").read_text(encoding="utf-8")
    held = set(re.findall(r"^([a-z0-9-]+)==", lock, re.MULTILINE))
    modules = set()
    for node in ast.walk(ast.parse(contract.MADE_BY.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add(node.module or "")
    foreign = {module.partition(".")[0] for module in modules} - sys.stdlib_module_names
    assert foreign == {"cryptography"}
    for module in foreign:
        assert set(packages_distributions()[module]) <= held, f"{image} has no {module}"
