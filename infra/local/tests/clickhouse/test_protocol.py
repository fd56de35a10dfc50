import base64

import pytest

from sensor_local.clickhouse.errors import ServerError
from sensor_local.clickhouse.form import read_form
from sensor_local.clickhouse.protocol import arguments, credentials, request


def test_parameters_settings_and_words_of_the_http_layer_are_told_apart() -> None:
    asked = request(
        "POST",
        {
            "query": "SELECT 1",
            "param_a": "x",
            "max_threads": "2",
            "quota_key": "k",
            "wait_end_of_query": "1",
            "database": "d",
        },
        {},
    )
    assert asked.parameters == {"a": "x"}
    assert asked.settings == {"max_threads": "2"}
    assert asked.whole
    assert asked.database == "d"


@pytest.mark.parametrize("name", ["max_threads=1,readonly", "a b", "", "x'", "é"])
def test_a_setting_that_is_no_name_is_unknown_and_never_reaches_the_sql(name: str) -> None:
    with pytest.raises(ServerError) as raised:
        request("POST", {"query": "SELECT 1", name: "1"}, {})
    assert raised.value.code == 115


def test_get_is_readonly_and_a_request_cannot_lift_that() -> None:
    asked = request("GET", {"query": "SELECT 1", "readonly": "0"}, {})
    assert asked.readonly
    assert asked.settings == {}
    assert not request("POST", {}, {}).readonly


def test_headers_win_over_basic_authentication_and_that_over_the_query_string() -> None:
    basic = b"Basic " + base64.b64encode(b"b:pass:word")
    header = {b"x-clickhouse-user": b"a", b"x-clickhouse-key": b"k", b"authorization": basic}
    query = {"user": "c", "password": "p"}
    assert credentials(query, header).user == "a"
    assert credentials(query, {b"authorization": basic}).password == "pass:word"
    assert credentials(query, {}).password == "p"


@pytest.mark.parametrize("value", [b"Bearer abc", b"Basic !", b"Basic /w=="])
def test_other_authorization_is_refused(value: bytes) -> None:
    with pytest.raises(ServerError) as raised:
        credentials({}, {b"authorization": value})
    assert raised.value.code == 516


@pytest.mark.parametrize("timeout", ["x", "-1", "3601", "nan"])
def test_a_session_timeout_out_of_bounds_is_refused(timeout: str) -> None:
    with pytest.raises(ServerError) as raised:
        request("POST", {"session_id": "s", "session_timeout": timeout}, {})
    assert raised.value.code == 374


def test_a_query_string_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(ServerError) as raised:
        arguments(b"query=%ff")
    assert raised.value.status == 400


def test_a_form_has_fields_and_files() -> None:
    body = (
        b'--B\r\nContent-Disposition: form-data; name="query"\r\n\r\nSELECT \xc3\xa9\r\n'
        b'--B\r\nContent-Disposition: form-data; name="t"; filename="t.bin"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n1\n\x00\xff\r\n--B--\r\n"
    )
    found = read_form("multipart/form-data; boundary=B", body)
    assert found.fields == {"query": "SELECT é"}
    assert found.files == {"t": b"1\n\x00\xff"}
