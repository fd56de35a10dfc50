"""The gRPC contract: generated code is fresh, and the original's field numbers stay."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.descriptor import Descriptor

from twinup.alert.v1 import alert_pb2

ROOT = Path(__file__).parents[2]
GENERATED = ROOT / "shared/src/twinup/alert/v1"

FIELDS = {
    "AlertRequest": "alert_id device_id alert_type severity message temperature threshold "
    "location timestamp metadata",
    "AlertResponse": "success message alert_id processed_at",
    "AlertHistoryRequest": "device_id start_time end_time limit min_severity",
    "AlertHistoryResponse": "alerts total_count",
    "AlertRecord": "alert_id device_id alert_type severity message temperature threshold "
    "timestamp processed_at email_sent",
    "HealthCheckRequest": "",
    "HealthCheckResponse": "healthy status timestamp",
    "Location": "latitude longitude region",
}


@pytest.mark.parametrize("message", FIELDS)
def test_fields_have_the_numbers_of_the_original(message: str) -> None:
    descriptor: Descriptor = alert_pb2.DESCRIPTOR.message_types_by_name[message]
    numbers = {field.name: field.number for field in descriptor.fields}
    assert numbers == {name: i for i, name in enumerate(FIELDS[message].split(), start=1)}


def test_enum_values_have_the_numbers_of_the_original() -> None:
    assert dict(alert_pb2.AlertType.items()) == {
        f"ALERT_TYPE_{name}": number
        for number, name in enumerate(
            [
                "UNSPECIFIED",
                "TEMPERATURE_HIGH",
                "TEMPERATURE_LOW",
                "HUMIDITY_HIGH",
                "HUMIDITY_LOW",
                "PRESSURE_ABNORMAL",
                "DEVICE_OFFLINE",
                "SENSOR_MALFUNCTION",
            ]
        )
    }
    assert dict(alert_pb2.AlertSeverity.items()) == {
        f"ALERT_SEVERITY_{name}": number
        for number, name in enumerate(["UNSPECIFIED", "LOW", "MEDIUM", "HIGH", "CRITICAL"])
    }


def test_the_service_has_the_calls_of_the_original_and_those_that_people_need() -> None:
    service = alert_pb2.DESCRIPTOR.services_by_name["AlertService"]
    assert service.full_name == "twinup.alert.v1.AlertService"
    assert set(service.methods_by_name) == {
        *("SendAlert", "GetAlertHistory", "HealthCheck"),
        *("ListAlerts", "GetAlert", "AcknowledgeAlert", "ClearAlert", "CommentAlert"),
    }


def test_generated_code_is_what_the_proto_files_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    assert shutil.which("protoc-gen-mypy")
    out = str(tmp_path)
    arguments = [f"--{kind}_out={out}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")]
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT / 'proto'}", *arguments]
    protos = sorted((ROOT / "proto/twinup/alert/v1").glob("*.proto"))
    assert len(protos) > 1
    subprocess.run([*command, *(f"twinup/alert/v1/{one.name}" for one in protos)], check=True)
    fresh = {path.name: path.read_text() for path in (tmp_path / "twinup/alert/v1").iterdir()}
    committed = {path.name: path.read_text() for path in GENERATED.glob("*_pb2*")}
    assert fresh == committed
