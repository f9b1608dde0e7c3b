"""Errors as the runtime reads them."""

from __future__ import annotations

import json

import pytest

from nankeen.cni.error import CniError, Code, as_cni_error
from nankeen.model.errors import ConfigError, KernelError, LeaseError, NankeenError, RegistryError


def test_an_error_says_what_is_wrong_where_and_what_to_do() -> None:
    error = CniError(Code.INVALID_CONFIG, "67 is no MTU", where="mtu", remedy="68 to 65535")
    assert json.loads(error.render("0.4.0")) == {
        "cniVersion": "0.4.0",
        "code": 7,
        "msg": "mtu: 67 is no MTU",
        "details": "68 to 65535",
    }


def test_an_error_without_a_remedy_has_no_details() -> None:
    assert json.loads(CniError(Code.DECODING, "not JSON").render()) == {
        "cniVersion": "1.1.0",
        "code": 6,
        "msg": "not JSON",
    }


@pytest.mark.parametrize(
    "error, code",
    [
        (CniError(Code.CONTAINER_UNKNOWN, "gone"), 3),
        (ConfigError("no Network"), 7),
        (RegistryError("cannot be reached"), 11),
        (LeaseError("the pool is used up"), 11),
        (KernelError("Operation not permitted"), 100),
        (NankeenError("something"), 999),
        (TimeoutError(), 11),
        (FileNotFoundError(2, "No such file or directory", "/var/lib/cni"), 5),
        (ZeroDivisionError("division by zero"), 999),
    ],
)
def test_every_error_has_a_code(error: Exception, code: int) -> None:
    assert as_cni_error(error).code == code


def test_an_operating_system_error_names_the_file() -> None:
    error = as_cni_error(FileNotFoundError(2, "No such file or directory", "/var/lib/cni"))
    assert error.message == "/var/lib/cni: No such file or directory"
