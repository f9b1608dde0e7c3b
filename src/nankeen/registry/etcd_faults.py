"""What can be wrong with an etcd cluster, in words: where it is, and what to do."""

from __future__ import annotations

from typing import NamedTuple

import grpc

from nankeen.model.errors import RegistryConflict, RegistryError
from nankeen.model.printable import printable

_LONGEST = 200
"""Characters of a reason that are told: gRPC's can be very long."""


class _Fault(NamedTuple):
    """One thing that can be wrong, by the gRPC status and words of its details (any, where there are none)."""

    code: grpc.StatusCode
    words: str
    problem: str
    remedy: str


_Code = grpc.StatusCode
_ALARM = "after making room: etcdctl compact, etcdctl defrag, etcdctl alarm disarm"
_BUSY = "check that it runs, and how busy it is"
_OUT_OF_TIME = "context deadline exceeded"
"""What a member says, without a code of its own, when the others did not answer it in time."""
_FAULTS = (
    _Fault(_Code.UNAVAILABLE, "no leader", "has no leader", "bring back enough of its members for a majority"),
    _Fault(_Code.UNAVAILABLE, "certificate", "does not pass for who it should be", "check the file of the CA"),
    _Fault(_Code.UNAVAILABLE, "handshake", "does not agree on TLS", "check whether it wants TLS, and of whom"),
    _Fault(_Code.UNAVAILABLE, "", "cannot be reached", "check its address, and that it runs"),
    _Fault(_Code.DEADLINE_EXCEEDED, "", "does not answer", _BUSY),
    _Fault(_Code.UNKNOWN, _OUT_OF_TIME, "does not answer", _BUSY),
    _Fault(_Code.RESOURCE_EXHAUSTED, "space exceeded", "has no space left", _ALARM),
    _Fault(_Code.RESOURCE_EXHAUSTED, "", "takes no more requests for now", "wait, or find who sends so many"),
    _Fault(_Code.PERMISSION_DENIED, "", "does not let us", "give the user's role read and write below the prefix"),
    _Fault(_Code.UNAUTHENTICATED, "", "does not know us", "check the user and the password"),
    _Fault(_Code.INVALID_ARGUMENT, "user name is empty", "wants to know the user", "name a user with a password"),
    _Fault(_Code.INVALID_ARGUMENT, "authentication failed", "does not know us", "check the user and the password"),
    _Fault(_Code.INVALID_ARGUMENT, "revision in header is old", "has changed who may do what", "try again"),
)
_STALE = ("invalid auth token", "revision in header is old", "user name is empty")
_ELSEWHERE = {_Code.UNAVAILABLE, _Code.DEADLINE_EXCEEDED}
"""What another member of the cluster may answer better."""


def fault(where: str, error: grpc.aio.AioRpcError) -> RegistryError:
    """The error in words. `where` is the member that was asked."""
    code, details = error.code(), _details(error)
    if code is _Code.OUT_OF_RANGE:  # of revisions
        return RegistryConflict(details, where=where, remedy="read it again, then decide again")
    for found in _FAULTS:
        if found.code is code and found.words in details.lower():
            return RegistryError(f"{found.problem} ({details})", where=where, remedy=found.remedy)
    return RegistryError(f"cannot be used ({code.name}: {details})", where=where, remedy="see what etcd itself logs")


def may_answer_elsewhere(error: grpc.aio.AioRpcError) -> bool:
    """Whether it is worth asking another member."""
    return error.code() in _ELSEWHERE or (error.code() is _Code.UNKNOWN and _OUT_OF_TIME in _details(error))


def is_stale_token(error: grpc.aio.AioRpcError) -> bool:
    """Whether to give user and password once more: a token has an end, and none outlives a change of users."""
    details = _details(error)
    return error.code() is _Code.UNAUTHENTICATED or (
        error.code() is _Code.INVALID_ARGUMENT and any(words in details for words in _STALE)
    )


def is_open_to_all(error: grpc.aio.AioRpcError) -> bool:
    """Whether the cluster has no users: everybody may do everything."""
    return error.code() is _Code.FAILED_PRECONDITION and "authentication is not enabled" in _details(error)


def _details(error: grpc.aio.AioRpcError) -> str:
    return printable(" ".join((error.details() or "no reason given").removeprefix("etcdserver: ").split()), _LONGEST)
