"""DNS settings out of resolv.conf(5)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nankeen.cni.result import Dns
from nankeen.pods.resolvconf import parse


def test_settings_are_read_and_comments_are_not() -> None:
    text = """
# nameserver 192.0.2.1
; search no
nameserver 10.96.0.10
 nameserver fd00::a
domain example.org
search a b
search c d
options ndots:5
options edns0 trust-ad
sortlist 10.0.0.0
nameserver
"""
    assert parse(text) == Dns(("10.96.0.10", "fd00::a"), "example.org", ("c", "d"), ("ndots:5", "edns0", "trust-ad"))


@given(st.text())
def test_any_text_has_settings(text: str) -> None:
    assert isinstance(parse(text), Dns)
