"""What is printed for programs."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nankeen.cli.output import json_text


@given(st.recursive(st.text() | st.characters(categories=["Cs", "Cc", "Zl", "Zp"]), st.lists))
def test_what_is_printed_for_programs_neither_moves_a_cursor_nor_changes(document: object) -> None:
    text = json_text(document)
    assert not [mark for mark in text if "\x00" <= mark < " " or "\x7f" <= mark < "\xa0" or mark in "\u2028\u2029"]
    assert json.loads(text.encode()) == document


@pytest.mark.parametrize("text", ["Müller", "节点", "→"])
def test_what_people_read_stays_as_it_is(text: str) -> None:
    assert json_text(text) == f'"{text}"'
