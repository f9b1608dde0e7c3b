"""The executable that a container runtime starts: it passes its request to the nankeen agent and prints the answer.

It decides nothing, so that it is quick to start: interpreter modules that are built in, and no others, are imported.
The installed file is a copy of this source and imports nothing of the package.

    request   NAME=VALUE NUL for each CNI_* variable; NUL; standard input; end of writing.
              The descriptor of CNI_NETNS goes with the first octet (SCM_RIGHTS), where it can be opened.
    answer    one octet of exit status; what to print.
"""

import _socket
import posix
import sys

SOCKET = "/run/nankeen/cni.sock"
VERSIONS = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
SECONDS = 30
"""How long the agent may take for each step: to accept, to read on, to answer."""
MAX_INPUT = 1 << 20
"""Longest standard input in bytes. One more is passed on, so that the agent can refuse it."""

INPUT_OUTPUT = 5
TRY_AGAIN_LATER = 11


def main() -> int:
    """Serves one execution; returns the exit status."""
    command = posix.environ.get(b"CNI_COMMAND")
    if not command:
        write(2, f"nankeen CNI plugin\nCNI protocol versions supported: {', '.join(VERSIONS)}\n".encode())
        return 0
    if command == b"VERSION":
        listed = ", ".join(f'"{version}"' for version in VERSIONS)
        write(1, f'{{"cniVersion": "{VERSIONS[-1]}", "supportedVersions": [{listed}]}}\n'.encode())
        return 0
    try:
        request = variables() + b"\0" + standard_input()
    except OSError as error:
        return fail(INPUT_OUTPUT, f"cannot read standard input: {error.strerror}")
    try:
        answer = ask(request, namespace())
    except BlockingIOError:
        return fail(TRY_AGAIN_LATER, f"the nankeen agent did not answer on {SOCKET} within {SECONDS} seconds")
    except OSError as error:
        return fail(TRY_AGAIN_LATER, f"the nankeen agent is not there: {SOCKET}: {error.strerror}")
    if not answer:
        return fail(TRY_AGAIN_LATER, f"the nankeen agent closed {SOCKET} without an answer")
    write(1, answer[1:])
    return answer[0]


def variables() -> bytes:
    """The environment that the specification gives a meaning to."""
    items = posix.environ.items()
    return b"".join(name + b"=" + value + b"\0" for name, value in items if name.startswith(b"CNI_"))


def standard_input() -> bytes:
    """The network configuration. Raises `OSError`."""
    data = b""
    while len(data) <= MAX_INPUT and (part := posix.read(0, MAX_INPUT + 1 - len(data))):
        data += part
    return data


def namespace() -> "int | None":
    """An open descriptor of the pod's network namespace; None where there is none, of which the agent makes sense."""
    path = posix.environ.get(b"CNI_NETNS")
    try:
        # Not blocking: the path may by mistake be a FIFO.
        return posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK) if path else None
    except OSError:
        return None


def ask(request: bytes, descriptor: "int | None") -> bytes:
    """The agent's answer; empty where it ended in between. Raises `OSError`, `BlockingIOError` when time is up."""
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    # The kernel's own timeouts (struct timeval), as a non-blocking connect fails at once when the queue is full.
    word = (sys.maxsize.bit_length() + 1) // 8
    timeval = SECONDS.to_bytes(word, sys.byteorder) + bytes(word)
    connection.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDTIMEO, timeval)
    connection.setsockopt(_socket.SOL_SOCKET, _socket.SO_RCVTIMEO, timeval)
    connection.connect(SOCKET)
    passed = [] if descriptor is None else [descriptor.to_bytes(4, sys.byteorder)]
    rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, item) for item in passed]
    sent = connection.sendmsg([request], rights)
    connection.sendall(request[sent:])
    connection.shutdown(_socket.SHUT_WR)
    answer = b""
    while part := connection.recv(1 << 16):
        answer += part
    connection.close()
    return answer


def fail(code: int, message: str) -> int:
    """Prints a CNI error; returns the exit status."""
    escaped = message.replace("\\", "\\\\").replace('"', '\\"')
    write(1, f'{{"cniVersion": "{VERSIONS[-1]}", "code": {code}, "msg": "{escaped}"}}\n'.encode())
    return 1


def write(descriptor: int, data: bytes) -> None:
    """All of the data."""
    while data:
        data = data[posix.write(descriptor, data) :]


if __name__ == "__main__":
    posix._exit(main())  # noqa: SLF001  (a system call: the interpreter has nothing to tidy up)
