"""A stream of bytes from one network namespace to another, as fast as it goes."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import closing

from nankeen.kernel.namespace import Namespace, entered

_PATIENCE = 30.0
"""Seconds."""


def seconds(source: Namespace, destination: Namespace, address: str, amount: int) -> float:
    """Sends so many bytes by TCP, in packets as large as the kernel makes them; how long they took, in seconds.

    The receiver counts from the moment that the connection is asked for.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with entered(destination):
        listener = socket.create_server(("", 0), family=family)
    with entered(source):
        sender = socket.socket(family, socket.SOCK_STREAM)
    with closing(listener), closing(sender):
        sender.settimeout(_PATIENCE)
        listener.settimeout(_PATIENCE)
        started = time.monotonic()
        sender.connect((address, listener.getsockname()[1]))
        receiver, _ = listener.accept()
        with closing(receiver):
            receiver.settimeout(_PATIENCE)
            thread = threading.Thread(target=sender.sendall, args=(bytes(amount),))
            thread.start()
            got = 0
            while got < amount:
                part = len(receiver.recv(1 << 20))
                assert part, f"the stream ended after {got} bytes"
                got += part
        taken = time.monotonic() - started
        thread.join()
        return taken
