"""What the documents tell people to type exists: settings, and units that systemd takes."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel

from sensor_alerts.settings import AlertServiceSettings
from sensor_analytics.settings import AnalyticsSettings
from sensor_auth.settings import AuthSettings
from sensor_consumer.settings import ConsumerSettings
from sensor_dispatcher.settings import DispatcherProcess
from sensor_gateway.settings import GatewaySettings
from sensor_producer.settings import ProducerConfig
from sensor_shared.contracts.access import PERMISSIONS, Role

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
PROCESSES = (
    *(AlertServiceSettings, AnalyticsSettings, AuthSettings, ConsumerSettings, DispatcherProcess),
    *(GatewaySettings, ProducerConfig),
)
NO_SETTINGS = re.compile(
    r"TWINUP_(RUN_DIR|CONFIG_DIR|FUNCTION|SCHEMAS_DIR|PORTS(_[A-Z]+)?|TOPICS_[A-Z_]+|ONLY_[A-Z_]+)"
)
"""Read before there are settings: by the command, the image, or the tests."""
VARIABLE = re.compile(r"\bTWINUP_[A-Z0-9_]*[A-Z0-9]\b(?!_?[<*…])")


def variables() -> set[str]:
    """Returns the variable of every key of every process."""
    found = set()
    for process in PROCESSES:
        for section, field in process.model_fields.items():
            kind = field.annotation
            assert isinstance(kind, type)
            assert issubclass(kind, BaseModel), section
            found |= {f"TWINUP_{section}_{key}".upper() for key in kind.model_fields}
    return found


def named(text: str) -> set[str]:
    return {name for name in VARIABLE.findall(text) if not NO_SETTINGS.fullmatch(name)}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_variable_in_a_document_is_a_setting(document: Path) -> None:
    known = variables()
    unknown = {
        name
        for name in named(document.read_text(encoding="utf-8"))
        if name not in known and name.removesuffix("_FILE") not in known
    }
    assert unknown == set()


def test_a_variable_that_is_none_would_be_seen() -> None:
    text = "`TWINUP_CONSUMER_HASTE`, `TWINUP_<SECTION>_<KEY>`, TWINUP_KAFKA_* and TWINUP_RUN_DIR"
    assert named(text) - variables() == {"TWINUP_CONSUMER_HASTE"}


def test_the_unit_in_the_document_is_one_that_systemd_takes(tmp_path: Path) -> None:
    verify = shutil.which("systemd-analyze")
    if verify is None:
        pytest.skip("systemd-analyze is not installed")
    text = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    (unit,) = re.findall(r"```systemd\n(.*?)```", text, re.DOTALL)
    # It looks for the program, which is another machine's.
    unit = unit.replace("/opt/twinup/.venv/bin/python", sys.executable)
    file = tmp_path / "twinup@.service"
    file.write_text(unit, encoding="utf-8")
    done = subprocess.run(
        [verify, "verify", "--man=no", str(tmp_path / "twinup@consumer.service")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    said = [line for line in done.stderr.splitlines() if "twinup@" in line]
    assert (done.returncode, said) == (0, []), done.stderr


def test_the_table_of_permissions_in_the_document_is_the_one_in_the_code() -> None:
    rows = [
        f"| `{action}` | {' | '.join('yes' if role in roles else 'no' for role in Role)} |"
        for action, roles in PERMISSIONS.items()
    ]
    text = (ROOT / "docs/security.md").read_text(encoding="utf-8")
    shown = [line for line in text.splitlines() if re.match(r"\| `[a-z]+:[a-z-]+` \|", line)]
    assert shown == rows, "it should be:\n" + "\n".join(rows)
