import pytest

from sensor_local.clickhouse.errors import ServerError, from_engine


def test_code_and_message_are_read_from_the_engine() -> None:
    error = from_engine(RuntimeError("Code: 60. DB::Exception: No t. (UNKNOWN_TABLE)"))
    assert (error.code, error.message, error.status) == (60, "No t. (UNKNOWN_TABLE)", 404)


def test_repeated_wrapping_is_taken_off() -> None:
    text = (
        "Streaming insert finish failed: Code: 73. DB::Exception: Code: 73. DB::Exception: "
        "Unknown format X. (UNKNOWN_FORMAT) (version 26.9.2.1). (UNKNOWN_FORMAT) (version 26.9.2.1)"
    )
    error = from_engine(RuntimeError(text))
    assert error.code == 73
    assert error.message.startswith("Unknown format X.")
    assert not error.message.endswith(")") or "version" not in error.message.rsplit("(", 1)[1]


def test_what_has_no_code_is_an_internal_error() -> None:
    error = from_engine(ValueError("boom"))
    assert (error.code, error.message, error.status) == (1001, "boom", 500)


@pytest.mark.parametrize(
    ("code", "status"),
    [(62, 400), (516, 403), (194, 401), (60, 404), (159, 408), (48, 501), (439, 503), (241, 500)],
)
def test_each_code_has_the_status_of_the_real_server(code: int, status: int) -> None:
    assert ServerError(code, "x").status == status


def test_the_text_ends_with_the_version() -> None:
    text = ServerError(62, "Bad. (SYNTAX_ERROR)").text("26.9.2.1")
    assert text == "Code: 62. DB::Exception: Bad. (SYNTAX_ERROR) (version 26.9.2.1)\n"
