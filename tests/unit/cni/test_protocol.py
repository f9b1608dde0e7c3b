"""The octets between client and agent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nankeen.cni.error import CniError, Code
from nankeen.cni.protocol import MAX_ENVIRONMENT, Answer, split_request

NAMES = st.text(st.characters(categories=["Lu"], max_codepoint=127), min_size=1).map(lambda name: f"CNI_{name}")
VALUES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@given(st.dictionaries(NAMES, VALUES, min_size=1), st.binary())
def test_what_a_client_sends_is_what_the_agent_reads(environment: dict[str, str], stdin: bytes) -> None:
    variables = b"".join(f"{name}={value}".encode() + b"\0" for name, value in environment.items())
    assert split_request(variables + b"\0" + stdin) == (environment, stdin)


@pytest.mark.parametrize(
    "data",
    [b"", b"CNI_COMMAND=ADD", b"CNI_COMMAND=ADD\0{}", b"CNI_ARGS=\xff\0\0{}", b"A=" + b"x" * MAX_ENVIRONMENT + b"\0\0"],
)
def test_variables_that_are_none_are_refused(data: bytes) -> None:
    with pytest.raises(CniError) as caught:
        split_request(data)
    assert caught.value.code is Code.INVALID_ENVIRONMENT


@given(st.binary())
def test_whatever_comes_is_a_request_or_a_cni_error(data: bytes) -> None:
    try:
        environment, stdin = split_request(data)
    except CniError:
        return
    assert data.endswith(stdin)
    assert all(isinstance(name, str) for name in environment)


def test_an_answer_begins_with_the_exit_status() -> None:
    assert Answer(1, b"{}\n").encode() == b"\x01{}\n"


def test_of_a_variable_that_is_there_twice_the_first_counts() -> None:
    assert split_request(b"CNI_NETNS=/first\0CNI_NETNS=/second\0\0") == ({"CNI_NETNS": "/first"}, b"")
