"""The wire protocol between the executable that a runtime starts and the agent, over a Unix stream socket.

    request   NAME=VALUE NUL    once for each variable of the environment whose name begins with CNI_
              NUL               the variables end
              octets            standard input, as it came, up to the end of writing (shutdown)
              SCM_RIGHTS        with the first octet, where CNI_NETNS can be opened: that one descriptor

    answer    octet             the exit status
              octets            what to print on standard output, up to the end of the connection

An answer of no octets at all means that the agent ended in between; a client may then ask again. Every form of the
client (client.c, client.py) speaks this, so the agent and the client may be of different releases. VERSION is answered
by the client alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from nankeen.cni.error import CniError, Code
from nankeen.cni.request import MAX_INPUT

MAX_ENVIRONMENT = 1 << 18
"""Longest list of variables, in bytes."""
MAX_REQUEST = MAX_ENVIRONMENT + MAX_INPUT + 1
"""Longest request, in bytes: one more than is allowed, so that too long an input is told from one that fits."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the client prints, and how it exits."""

    status: int
    output: bytes

    def encode(self) -> bytes:
        return bytes([self.status]) + self.output


def split_request(data: bytes) -> tuple[dict[str, str], bytes]:
    """The environment and the standard input of a request. Raises `CniError`."""
    head, end, stdin = data.partition(b"\0\0")
    if not end:
        raise CniError(Code.INVALID_ENVIRONMENT, "the variables do not end", where="request")
    if len(head) > MAX_ENVIRONMENT:
        raise CniError(Code.INVALID_ENVIRONMENT, f"more than {MAX_ENVIRONMENT} bytes of variables", where="request")
    try:
        pairs = [entry.partition("=") for entry in head.decode().split("\0")]
    except UnicodeDecodeError as error:
        raise CniError(Code.INVALID_ENVIRONMENT, "the variables are not UTF-8", where="request") from error
    # Of a name that is there twice the first counts, as in getenv(3): the client opened that one's namespace.
    return {name: value for name, _, value in reversed(pairs)}, stdin
