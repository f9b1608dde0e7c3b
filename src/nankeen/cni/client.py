"""The executable that a container runtime starts: it passes its request to the nankeen agent and prints the answer.

It decides nothing, so that it is quick to start: interpreter modules that are built in, and no others, are imported.
The installed file is a copy of this source and imports nothing of the package. Where the machine has a C compiler, its
twin client.c is installed instead; the two behave the same.

    request   NAME=VALUE NUL for each CNI_* variable; NUL; standard input; end of writing.
              The descriptor of CNI_NETNS goes with the first octet (SCM_RIGHTS), where it can be opened.
    answer    one octet of exit status; what to print.

Where no agent answers, the error has the reason that the agent told last, in its status file.
"""

import _socket
import posix
import sys
import time

SOCKET = "/run/nankeen/cni.sock"
STATUS_FILE = "/run/nankeen/status.json"
VERSIONS = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
SECONDS = 30
"""How long the agent may take from the connection to the last octet of its answer."""
STATUS_SECONDS = 5
"""The same for STATUS, which runtimes ask all the time."""
PATIENCE = 10
"""Seconds that ADD and DEL wait for an agent which is restarting."""
PAUSE = 0.02
"""Seconds between two attempts."""
MAX_INPUT = 1 << 20
"""Longest standard input in bytes. One more is passed on, so that the agent can refuse it."""
MAX_ANSWER = 1 << 20
"""Longest answer in bytes."""

MAX_STATUS = 1 << 16
"""How much of the agent's status file is read, in bytes."""
MAX_REASON = 300
"""How much of the reason in it is told, in bytes."""

INPUT_OUTPUT = 5
TRY_AGAIN_LATER = 11
NOT_AVAILABLE = 50

PASSING = (FileNotFoundError, ConnectionRefusedError, BlockingIOError, ConnectionResetError, BrokenPipeError)
"""What one sees of an agent that is being restarted: no socket, nobody behind it, a full queue, an end without an
answer. A request may be made again: ADD and DEL have the same result the second time.
"""


def main() -> int:
    """Serves one execution; returns the exit status."""
    hold_standard_descriptors()
    command = posix.environ.get(b"CNI_COMMAND")
    if not command:
        about = f"nankeen CNI plugin\nCNI protocol versions supported: {', '.join(VERSIONS)}\n"
        return write(2, about.encode(), 0)
    if command == b"VERSION":
        listed = ", ".join(f'"{version}"' for version in VERSIONS)
        return write(1, f'{{"cniVersion": "{VERSIONS[-1]}", "supportedVersions": [{listed}]}}\n'.encode(), 0)
    try:
        request = variables() + b"\0" + standard_input()
    except OSError as error:
        return fail(INPUT_OUTPUT, f"cannot read standard input: {error.strerror}")
    try:
        patience = PATIENCE if command in {b"ADD", b"DEL"} else 0
        answer = ask(request, namespace(), patience, seconds_for(command))
    except OSError as error:
        return tell_failure(error, command)
    if len(answer) > MAX_ANSWER:
        return fail(INPUT_OUTPUT, f"the nankeen agent answered more than {MAX_ANSWER} bytes on {SOCKET}")
    return write(1, answer[1:], answer[0])


def hold_standard_descriptors() -> None:
    """Keeps descriptors that the runtime has closed from being given to a socket, which would then be written to.

    Each is open the wrong way round, so that its use fails with EBADF as if it were closed.
    """
    for number in (0, 1, 2):
        try:
            posix.fstat(number)
        except OSError:
            posix.open("/dev/null", posix.O_RDONLY if number else posix.O_WRONLY)


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


def seconds_for(command: bytes) -> int:
    """How long the agent may take."""
    return min(SECONDS, STATUS_SECONDS) if command == b"STATUS" else SECONDS


def ask(request: bytes, descriptor: "int | None", patience: int, seconds: int) -> bytes:
    """The agent's answer, of one octet at least. Raises `OSError`."""
    end = time.monotonic() + patience
    while True:
        try:
            return attempt(request, descriptor, seconds)
        except PASSING:
            if time.monotonic() >= end:
                raise
        time.sleep(PAUSE)


def attempt(request: bytes, descriptor: "int | None", seconds: int) -> bytes:
    """The agent's answer. Raises `OSError`: `ConnectionResetError` or `BrokenPipeError` where it ended in between."""
    passed = [] if descriptor is None else [descriptor.to_bytes(4, sys.byteorder)]
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        connection.connect(SOCKET)
        deadline = time.monotonic() + seconds
        connection.settimeout(seconds)
        sent = connection.sendmsg([request], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, item) for item in passed])
        connection.settimeout(left(deadline))
        connection.sendall(request[sent:])
        connection.shutdown(_socket.SHUT_WR)
        return receive(connection, deadline)
    finally:
        connection.close()


def receive(connection: _socket.socket, deadline: float) -> bytes:
    """The answer up to its end, or one octet too much. Raises `OSError`."""
    answer = b""
    while len(answer) <= MAX_ANSWER:
        connection.settimeout(left(deadline))
        part = connection.recv(min(1 << 16, MAX_ANSWER + 1 - len(answer)))
        if not part:
            break
        answer += part
    if not answer:
        raise ConnectionResetError
    return answer


def left(deadline: float) -> float:
    """Seconds until then. Raises `TimeoutError`."""
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError
    return seconds


def tell_failure(error: OSError, command: bytes) -> int:
    """Prints why there is no answer; returns the exit status."""
    if isinstance(error, TimeoutError):
        problem = f"did not answer on {SOCKET} within {seconds_for(command)} seconds"
    elif isinstance(error, (ConnectionResetError, BrokenPipeError)):
        problem = f"closed {SOCKET} without an answer"
    else:
        problem = f"is not there: {SOCKET}: {error.strerror}"
    code = NOT_AVAILABLE if command == b"STATUS" else TRY_AGAIN_LATER
    return fail(code, f"the nankeen agent {problem}", reason())


def reason() -> bytes:
    """Why the agent was not ready when it told of itself last, as its status file has it: a JSON string without the
    quotes. Empty where there is none.
    """
    try:
        file = posix.open(STATUS_FILE, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK)
        told = posix.read(file, MAX_STATUS).partition(b'"reason": "')[2]
    except OSError:
        return b""
    end = 0
    while end < len(told) and end <= MAX_REASON and told[end] != ord('"'):
        end += 2 if told[end] == ord("\\") else 1
    # Too long, or not what the agent writes: without its end nobody knows what it would be a part of.
    whole = end < len(told) and told[end] == ord('"') and all(0x20 <= octet < 0x7F for octet in told[:end])
    return told[:end] if whole else b""


def fail(code: int, message: str, details: bytes = b"") -> int:
    """Prints a CNI error; `details` is the inside of a JSON string. Returns the exit status."""
    escaped = message.replace("\\", "\\\\").replace('"', '\\"')
    told = b', "details": "the agent said last: ' + details + b'"' if details else b""
    head = f'{{"cniVersion": "{VERSIONS[-1]}", "code": {code}, "msg": "{escaped}"'
    return write(1, head.encode() + told + b"}\n", 1)


def write(descriptor: int, data: bytes, status: int) -> int:
    """Writes all of the data; returns the exit status, which is 1 where that is not possible."""
    try:
        while data:
            data = data[posix.write(descriptor, data) :]
    except OSError as error:
        return write(2, f"nankeen: cannot write the answer: {error.strerror}\n".encode(), 1) if descriptor != 2 else 1
    return status


if __name__ == "__main__":
    posix._exit(main())  # noqa: SLF001  (a system call: the interpreter has nothing to tidy up)
