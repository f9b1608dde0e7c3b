"""Addresses and settings of an etcd: what is right becomes a value, what never could work is refused at the door."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nankeen.model.errors import InputError, RegistryError
from nankeen.registry import etcd_settings, open_registry
from nankeen.registry.etcd_settings import EtcdSettings


def test_an_address_names_endpoints_prefix_files_and_user() -> None:
    settings = etcd_settings.parse(
        "10.0.0.1:2379,https://etcd2:2379/my/net?cafile=/a.pem&certfile=/b.pem&keyfile=/c.pem&username=flannel",
        {"ETCD_PASSWORD": "secret"},
    )
    assert settings.endpoints == ("10.0.0.1:2379", "https://etcd2:2379")
    assert settings.root == "/my/net"
    assert (settings.cafile, settings.certfile, settings.keyfile) == (Path("/a.pem"), Path("/b.pem"), Path("/c.pem"))
    assert (settings.username, settings.password) == ("flannel", "secret")


def test_an_address_without_a_prefix_means_flannels() -> None:
    assert etcd_settings.parse("[::1]:2379", {}).root == "/coreos.com/network"


def test_a_prefix_is_taken_to_the_letter_but_for_a_slash_at_its_end() -> None:
    assert EtcdSettings(prefix="coreos.com/network/").root == "coreos.com/network"


def test_a_password_without_a_user_in_the_address_stays_unused() -> None:
    assert etcd_settings.parse("10.0.0.1:2379", {"ETCD_PASSWORD": "secret"}).password == ""


def test_a_password_is_never_shown() -> None:
    assert "secret" not in repr(EtcdSettings(username="flannel", password="secret"))  # noqa: S106


@pytest.mark.parametrize(
    "endpoint, files, encrypted",
    [
        ("http://10.0.0.1:2379", {}, False),
        ("http://10.0.0.1:2379", {"cafile": Path("/ca.pem")}, False),
        ("https://10.0.0.1:2379", {}, True),
        ("10.0.0.1:2379", {}, False),
        ("10.0.0.1:2379", {"cafile": Path("/ca.pem")}, True),
    ],
)
def test_an_endpoint_is_spoken_to_as_its_scheme_says_else_as_there_are_files(
    endpoint: str,
    files: dict[str, Path],
    encrypted: bool,  # noqa: FBT001
) -> None:
    assert EtcdSettings(endpoints=(endpoint,), cafile=files.get("cafile")).is_encrypted(endpoint) is encrypted


def test_half_a_pair_of_key_and_certificate_is_refused_where_it_would_be_used() -> None:
    EtcdSettings(("http://10.0.0.1:2379",), certfile=Path("/cert.pem"))  # flannel starts with it, too
    with pytest.raises(InputError, match="only one"):
        EtcdSettings(("https://10.0.0.1:2379",), certfile=Path("/cert.pem"))


@pytest.mark.parametrize(
    "rest",
    [
        "",
        "/coreos.com/network",
        "10.0.0.1",
        "10.0.0.1:0",
        "10.0.0.1:65536",
        "ftp://10.0.0.1:2379",
        ":2379",
        "10.0.0.1:2379/net?password=secret",
        "10.0.0.1:2379//",
    ],
)
def test_an_address_that_could_never_work_is_refused_with_what_to_do(rest: str) -> None:
    with pytest.raises(InputError) as refused:
        open_registry(f"etcd://{rest}")
    assert refused.value.remedy


@given(st.text())
def test_no_address_raises_anything_but_an_input_error(rest: str) -> None:
    try:
        etcd_settings.parse(rest, {})
    except InputError:
        return


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    settings = EtcdSettings(("https://10.0.0.1:2379",), cafile=tmp_path / "ca.pem")
    with pytest.raises(RegistryError, match=r"ca\.pem: cannot be read: No such file"):
        settings.pem()
