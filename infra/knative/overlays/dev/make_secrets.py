"""Makes the secrets of a development cluster, each once: run by the Job `make-secrets`.

Secrets that are there already stay as they are, so it may run again at any time.
"""

import json
import os
import secrets
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where Kubernetes mounts a pod's account: token, namespace, and the API server's authority."""


def fresh() -> dict[str, dict[str, str]]:
    """Returns every secret that infra/knative names, by its name and keys."""
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return {
        "clickhouse": {"TWINUP_CLICKHOUSE_PASSWORD": secrets.token_urlsafe(24)},
        "redis": {"TWINUP_REDIS_PASSWORD": secrets.token_urlsafe(24)},
        "mqtt": {
            "TWINUP_MQTT_USERNAME": "twinup",
            "TWINUP_MQTT_PASSWORD": secrets.token_urlsafe(24),
        },
        "service-token": {"token": secrets.token_urlsafe(32)},
        "auth-admin": {"password": secrets.token_urlsafe(15)},
        "auth-signing-key": {"signing-key.pem": pem},
    }


def create(api: str, account: Path, name: str, values: Mapping[str, str]) -> bool:
    """Creates one secret; false when it is there already.

    Raises:
        OSError: when the API server does not answer, or refuses.
    """
    namespace = (account / "namespace").read_text(encoding="utf-8").strip()
    token = (account / "token").read_text(encoding="utf-8").strip()
    authority = account / "ca.crt"
    document = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/part-of": "twinup-sensors"}},
        "type": "Opaque",
        "stringData": dict(values),
    }
    request = urllib.request.Request(  # noqa: S310 - the API server, whose address the pod is given
        f"{api}/api/v1/namespaces/{namespace}/secrets",
        data=json.dumps(document).encode(),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    trust = ssl.create_default_context(cafile=authority) if api.startswith("https:") else None
    try:
        with urllib.request.urlopen(request, timeout=10, context=trust):  # noqa: S310
            return True
    except urllib.error.HTTPError as error:
        if error.code == 409:
            return False
        raise


def main(api: str, account: Path = ACCOUNT) -> None:
    """Creates what is missing and says so, without the values."""
    for name, values in fresh().items():
        done = "made" if create(api, account, name, values) else "kept"
        sys.stdout.write(f"{done} {name}\n")


if __name__ == "__main__":
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT_HTTPS"]
    main(f"https://{host}:{port}")
