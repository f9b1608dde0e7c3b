"""Errors as a runtime reads them: a code, a message and details (CNI 1.1.0, section 5 "Result Types", Error)."""

from __future__ import annotations

import json
from enum import IntEnum

from nankeen.cni.version import NEWEST
from nankeen.model.errors import InputError, KernelError, NankeenError, RegistryError


class Code(IntEnum):
    """The specification's codes; 8 and 999 are the reference library's, 100 and above our own."""

    INCOMPATIBLE_VERSION = 1
    UNSUPPORTED_FIELD = 2
    CONTAINER_UNKNOWN = 3
    INVALID_ENVIRONMENT = 4
    INPUT_OUTPUT = 5
    DECODING = 6
    INVALID_CONFIG = 7
    INVALID_NAMESPACE = 8
    TRY_AGAIN_LATER = 11
    NOT_AVAILABLE = 50
    LIMITED_CONNECTIVITY = 51
    KERNEL = 100
    ADDRESSES_EXHAUSTED = 101
    INTERFACE_TAKEN = 102
    NOT_AS_ADDED = 103
    PORT_TAKEN = 104
    INTERNAL = 999


class CniError(NankeenError):
    """A request cannot be served. The message is `problem` with `where`; the details are `remedy`."""

    def __init__(self, code: int, problem: str, *, where: str = "", remedy: str = "") -> None:
        """`code` is one of `Code`; only another plugin's error, passed on, may have any."""
        super().__init__(problem, where=where, remedy=remedy)
        self.code = code

    @property
    def message(self) -> str:
        """What is wrong, and where."""
        return f"{self.where}: {self.problem}" if self.where else self.problem

    def render(self, version: str = NEWEST) -> bytes:
        """The error object, in the version of the specification that the request asked for."""
        body: dict[str, object] = {"cniVersion": version, "code": int(self.code), "msg": self.message}
        if self.remedy:
            body["details"] = self.remedy
        return json.dumps(body).encode() + b"\n"


def as_cni_error(error: Exception) -> CniError:
    """Any error, as the runtime is told of it. What nobody foresaw is code 999, the reference library's "internal"."""
    match error:
        case CniError():
            return error
        case NankeenError():
            return CniError(_code(error), error.problem, where=error.where, remedy=error.remedy)
        case TimeoutError():
            return CniError(Code.TRY_AGAIN_LATER, "the request took too long", remedy="the runtime tries again")
        case OSError():
            problem = error.strerror or str(error)
            return CniError(Code.INPUT_OUTPUT, problem, where=str(error.filename or ""))
    return CniError(
        Code.INTERNAL, f"unexpected {type(error).__name__}: {error}", remedy="the agent's log has the whole story"
    )


def _code(error: NankeenError) -> Code:
    match error:
        case InputError():
            return Code.INVALID_CONFIG
        case RegistryError():
            return Code.TRY_AGAIN_LATER
        case KernelError():
            return Code.KERNEL
    return Code.INTERNAL
