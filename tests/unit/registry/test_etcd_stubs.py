"""The modules that speak to etcd are those that protoc makes of the protocol, and grpcio is a choice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from grpc_tools import protoc

from nankeen import registry

ROOT = Path(registry.__file__).parents[3]
PROTOCOL = "src/nankeen/registry/etcdrpc/rpc.proto"


@pytest.mark.parametrize("name", ["rpc_pb2.py", "rpc_pb2.pyi", "rpc_pb2_grpc.py"])
def test_the_stubs_are_made_of_the_protocol(tmp_path: Path, name: str) -> None:
    outputs = [f"--{kind}_out={tmp_path}" for kind in ("python", "pyi", "grpc_python")]
    assert protoc.main(["protoc", f"-I{ROOT / 'src'}", *outputs, str(ROOT / PROTOCOL)]) == 0
    made = tmp_path / "nankeen/registry/etcdrpc" / name
    assert made.read_text() == (ROOT / PROTOCOL).with_name(name).read_text()


def test_the_stubs_say_how_they_are_made() -> None:
    from nankeen.registry import etcdrpc

    assert f"grpc_python_out=src \\\n        {PROTOCOL}" in (etcdrpc.__doc__ or "")


def test_grpcio_is_imported_only_by_who_chooses_etcd() -> None:
    program = "import sys, nankeen.cli.agent, nankeen.registry.sqlite; print('grpc' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=ROOT / "src")
    assert told.stdout == "False\n"
