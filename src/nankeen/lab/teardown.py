"""Taking a lab down, in whatever state it is: running, half built, or with its processes killed."""

from __future__ import annotations

import errno
import os
import select
import shutil
import signal

from nankeen.kernel import namespace
from nankeen.lab import record
from nankeen.lab.lab import Lab
from nankeen.lab.process import Process
from nankeen.model.errors import LabError


def down(lab: Lab) -> None:
    """Ends every process of a lab and removes all that is left of it. Raises `LabError`."""
    if lab.supervisor is not None:
        _kill(lab.supervisor)
        lab = record.read(lab.directory)  # it may have added a pod in the meantime
    if not lab.rootless:  # those of a user's lab went with its mount namespace
        for member in lab.members:
            namespace.remove(member.namespaces.network.name)
    try:
        shutil.rmtree(lab.directory)
        lab.directory.parent.rmdir()
    except FileNotFoundError:
        return  # somebody else took it down at the same time
    except OSError as error:
        if error.errno == errno.ENOTEMPTY and not lab.directory.exists():
            return  # there are other labs
        raise LabError(f"cannot be removed: {error.strerror}", where=str(error.filename or lab.directory)) from error


def _kill(supervisor: Process) -> None:
    """Kills process 1 of the lab, and with it all the others; returns when every one of them has ended."""
    descriptor = supervisor.descriptor()
    if descriptor is None:
        return
    try:
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        select.select([descriptor], [], [])
    except ProcessLookupError:
        return  # it ended by itself just now
    finally:
        os.close(descriptor)
