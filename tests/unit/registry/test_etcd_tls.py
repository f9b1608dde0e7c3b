"""An etcd behind TLS: it is checked, and it checks us."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from nankeen.model.errors import RegistryError
from tests.unit.registry.conftest import CONFIG, reach
from tests.unit.registry.etcdserver import Directory, EtcdServer, running


def certificate(directory: Path, name: str) -> tuple[Path, Path]:
    """A certificate that vouches for itself, and its key; `name` is the user that etcd takes it for."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl, which this machine has not")
    cert, private = directory / f"{name}.pem", directory / f"{name}.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    where = ["-days", "2", "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, *where, "-keyout", private, "-out", cert], check=True, capture_output=True)
    return cert, private


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Directory]:
    """An etcd that wants a certificate of its clients."""
    cert, private = certificate(tmp_path, "server")
    ours, our_key = certificate(tmp_path, "nankeen")
    trust = ("--client-cert-auth", f"--trusted-ca-file={ours}")
    server = EtcdServer(tmp_path / "etcd", (f"--cert-file={cert}", f"--key-file={private}", *trust), "https")
    server.client_options = [f"--cacert={cert}", f"--cert={ours}", f"--key={our_key}"]
    with running(server):
        made = Directory(server)
        made.configure(CONFIG)
        yield made
        made.close()


async def test_who_has_a_certificate_that_etcd_trusts_is_let_in(guarded: Directory, tmp_path: Path) -> None:
    registry = guarded.client(
        cafile=tmp_path / "server.pem", certfile=tmp_path / "nankeen.pem", keyfile=tmp_path / "nankeen.key"
    )
    lease = await registry.acquire("node1", "vxlan", [reach("10.99.0.1")])
    assert (await registry.snapshot()).leases == {"node1": lease}


async def test_a_certificate_is_the_user_of_its_name(guarded: Directory, tmp_path: Path) -> None:
    ctl = guarded.server.ctl
    for user in ("root", "nankeen"):
        ctl("user", "add", f"{user}:secret")
    ctl("user", "grant-role", "root", "root")
    ctl("role", "add", "network")
    ctl("role", "grant-permission", "network", "--prefix=true", "read", guarded.prefix)
    ctl("user", "grant-role", "nankeen", "network")
    ctl("auth", "enable")
    registry = guarded.client(
        cafile=tmp_path / "server.pem", certfile=tmp_path / "nankeen.pem", keyfile=tmp_path / "nankeen.key"
    )
    assert await registry.configuration() == CONFIG
    with pytest.raises(RegistryError, match="does not let us"):
        await registry.acquire("node1", "vxlan", [reach("10.99.0.1")])


async def test_who_has_no_certificate_is_not_let_in(guarded: Directory, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="etcd"):
        await guarded.client(cafile=tmp_path / "server.pem").config()


async def test_an_etcd_that_nobody_vouches_for_is_not_believed(guarded: Directory, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="does not pass for who it should be"):
        await guarded.client(cafile=tmp_path / "nankeen.pem").config()


async def test_an_etcd_that_wants_tls_is_not_reached_without(guarded: Directory) -> None:
    endpoint = guarded.server.endpoint.replace("https", "http")
    with pytest.raises(RegistryError, match="etcd"):
        await guarded.client(endpoints=(endpoint,)).config()
