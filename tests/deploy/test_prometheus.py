"""Prometheus scrapes what Compose runs, and Grafana finds it."""

import re
import shutil
import subprocess
from urllib.parse import urlsplit

import pytest
import yaml

from .compose import MODELS, is_job, is_ours, text
from .dockerfiles import ROOT


def scraped() -> dict[str, int]:
    found: dict[str, int] = {}
    config = yaml.safe_load((ROOT / "infra/prometheus/prometheus.yml").read_text("utf-8"))
    for job in config["scrape_configs"]:
        for names in job.get("dns_sd_configs", []):
            found |= dict.fromkeys(names["names"], names["port"])
        for targets in job.get("static_configs", []):
            for host, port in (target.split(":") for target in targets["targets"]):
                found[host] = int(port)
    return found


def test_prometheus_scrapes_everything_of_ours_and_nothing_that_is_not_there() -> None:
    services = MODELS["whole"]["services"]
    servers = {name for name, one in services.items() if is_ours(one) and not is_job(one)}
    targets = scraped()
    assert {name for name, port in targets.items() if port == 8080} == servers
    assert targets.keys() - {"localhost"} <= services.keys()
    metrics_of_clickhouse = re.search(r"<port>(\d+)</port>", text("clickhouse.xml"))
    assert metrics_of_clickhouse is not None
    assert targets["clickhouse"] == int(metrics_of_clickhouse[1])


def test_promtool_accepts_prometheus_configuration() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    file = ROOT / "infra/prometheus/prometheus.yml"
    done = subprocess.run([promtool, "check", "config", file], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_grafana_finds_prometheus() -> None:
    file = ROOT / "infra/grafana/provisioning/datasources/prometheus.yaml"
    (datasource,) = yaml.safe_load(file.read_text(encoding="utf-8"))["datasources"]
    address = urlsplit(datasource["url"])
    assert datasource["type"] == "prometheus"
    assert address.hostname in MODELS["whole"]["services"]
    assert address.port == 9090
