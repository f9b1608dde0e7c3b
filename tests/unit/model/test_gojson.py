import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nankeen.model.errors import ConfigError, InputError
from nankeen.model.gojson import JSON, compact, parse_object, parse_value

VALUES: st.SearchStrategy[JSON] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=10,
)


def test_keys_match_in_any_case() -> None:
    fields = parse_object('{"vTEPmac": "x", "gBp": true}', "here")
    assert fields.string("VtepMAC") == "x"
    assert fields.boolean("GBP", default=False)


def test_the_last_of_duplicate_keys_wins_however_it_is_spelled() -> None:
    assert parse_object('{"VNI": 1, "vni": 7, "VNI": 2}', "here").integer("VNI", 0, 0, 9) == 2
    assert parse_object('{"VNI": 1, "vni": 7}', "here").integer("VNI", 0, 0, 9) == 7


def test_null_leaves_a_field_as_it_was() -> None:
    assert parse_object('{"VNI": 7, "VNI": null, "vni": null}', "here").integer("VNI", 0, 0, 9) == 7
    assert parse_object('{"VNI": null}', "here").integer("VNI", 3, 0, 9) == 3


@pytest.mark.parametrize("text", ["7.0", "7e0", '"7"', "true", "[7]", "10", "-1"])
def test_an_integer_has_no_fraction_no_quotes_and_keeps_its_limits(text: str) -> None:
    with pytest.raises(InputError, match=r"here: VNI is .*; it must be a whole number from 0 to 9"):
        parse_object(f'{{"VNI": {text}}}', "here").integer("VNI", 0, 0, 9)


def test_a_wrong_type_is_told_by_key_value_and_what_is_allowed() -> None:
    inner = parse_object('{"Backend": {"Learning": 1, "Type": []}}', "here", ConfigError).object("Backend")
    assert inner is not None
    with pytest.raises(ConfigError, match=r"here: Backend\.Learning is 1; it must be true or false"):
        inner.boolean("Learning", default=False)
    with pytest.raises(ConfigError, match=r"here: Backend.Type is \[\]; it must be a string"):
        inner.string("Type")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "nul",
        "{} {}",
        "{'a': 1}",
        '{"a": NaN}',
        '{"a": 1e999}',
        '{"a": -1e999}',
        "\ufeff{}",
        "[" * 100_000,
        "9" * 5000,
        '{"a": "\\ud800"}',
        '"a\nb"',
    ],
)
def test_what_is_not_json_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(InputError) as refused:
        parse_value(text, "here")
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("text", ["null", "[]", "7", '"text"'])
def test_json_that_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"here: .* is no JSON object"):
        parse_object(text, "here")


def test_bytes_that_are_not_utf8_are_replaced() -> None:
    assert parse_value(b'"\xff"', "here") == "\ufffd"


def test_text_is_compact_and_escaped_as_go_does_it() -> None:
    assert compact({"a": ["<é>", 1], "b": "&\u2028"}) == '{"a":["\\u003cé\\u003e",1],"b":"\\u0026\\u2028"}'


@given(VALUES)
def test_a_value_survives_being_written_and_read(value: JSON) -> None:
    assert parse_value(compact(value), "here") == value
    assert json.loads(compact(value)) == value


@given(st.text() | st.binary())
def test_no_text_raises_anything_but_an_input_error(text: str | bytes) -> None:
    with suppress(InputError):
        parse_value(text, "here")
