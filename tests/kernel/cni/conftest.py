"""The client as installed, and a node for its agent."""

from __future__ import annotations

from tests.kernel.pods.conftest import node, pod
from tests.unit.cni.conftest import client, compile_client, contents, open_descriptors, short_path

__all__ = ["client", "compile_client", "contents", "node", "open_descriptors", "pod", "short_path"]
