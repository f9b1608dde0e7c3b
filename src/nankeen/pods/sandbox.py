"""The pod's network namespace, as a request refers to it."""

from __future__ import annotations

import os

from nankeen.cni.error import CniError, Code
from nankeen.cni.request import Request
from nankeen.kernel.namespace import Namespace
from nankeen.model.errors import KernelError
from nankeen.pods.attach import is_own


def sandbox(request: Request, descriptor: int | None) -> Namespace:
    """The pod's namespace, held by a descriptor of our own. Raises `CniError` where it is gone, is none, or is ours."""
    if descriptor is None:
        raise CniError(Code.CONTAINER_UNKNOWN, "the network namespace cannot be opened", where=request.namespace)
    try:
        pod = Namespace(os.dup(descriptor))
    except KernelError as error:
        raise CniError(Code.INVALID_NAMESPACE, error.problem, where=request.namespace) from error
    if is_own(pod):
        pod.close()
        raise CniError(Code.INVALID_NAMESPACE, "the pod's network namespace is the node's own", where=request.namespace)
    return pod
