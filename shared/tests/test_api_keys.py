"""The form of API keys: recognised, told from what looks like one, never shown by chance."""

import re

from hypothesis import given
from hypothesis import strategies as st

from sensor_shared.contracts.access import FOR_MACHINES, PERMISSIONS, Action, Claims, Role
from sensor_shared.contracts.api_keys import ID_PATTERN, KEY_PATTERN, ApiKey


def test_a_key_has_the_form_that_scanners_look_for() -> None:
    key = ApiKey.make()
    assert re.fullmatch(r"twk_[0-9A-Za-z]{16}_[0-9A-Za-z]{49}", key.text)
    assert re.fullmatch(KEY_PATTERN, key.text)
    assert re.fullmatch(ID_PATTERN, key.id)
    assert ApiKey.read(key.text) == key


def test_keys_differ_and_so_do_their_digests() -> None:
    keys = [ApiKey.make() for _ in range(100)]
    assert len({key.id for key in keys}) == len({key.digest() for key in keys}) == 100


@given(st.integers(0, 69), st.sampled_from("09AZaz_-"))
def test_one_wrong_character_is_seen(position: int, character: str) -> None:
    text = ApiKey.make().text
    wrong = text[:position] + character + text[position + 1 :]
    assert (ApiKey.read(wrong) is None) == (wrong != text)


@given(st.text())
def test_whatever_else_is_no_key(text: str) -> None:
    assert ApiKey.read(text) is None
    assert ApiKey.read(f"twk_{text}") is None


def test_line_ends_and_other_digits_are_no_part_of_a_key() -> None:
    text = ApiKey.make().text
    for wrong in (f"{text}\n", f" {text}", text.replace(text[5], "٣"), text.lower()):
        assert ApiKey.read(wrong) is None


def test_a_key_does_not_show_itself() -> None:
    key = ApiKey.make()
    assert key.text not in repr(key)
    assert key.text not in f"{[key]}"


def test_no_key_manages_keys_users_or_sessions() -> None:
    assert {str(action) for action in FOR_MACHINES} == {
        "devices:read",
        "readings:read",
        "alerts:read",
    }


def test_a_key_may_do_what_its_scopes_and_its_owners_role_allow_and_no_more() -> None:
    for role in Role:
        for scope in Action:
            claims = Claims("u", role, "", "id", 0, 0, frozenset({scope}))
            for action in Action:
                allowed = action is scope and action in FOR_MACHINES and role in PERMISSIONS[action]
                assert claims.may(action) == allowed, (role, scope, action)
