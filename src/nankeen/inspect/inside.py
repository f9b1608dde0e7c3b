"""Working inside a lab, from a child process: a rootless lab is entered for good, and its caller has more to do.

A rootless lab has a user namespace, and its namespaces can be entered only from there. Its mounts hold the paths of its
network namespaces, and a /proc that knows the processes of its PID namespace only; hence a second fork, to be one.
"""

from __future__ import annotations

import os
import pickle
import signal
import traceback
from collections.abc import Callable
from typing import NoReturn, TypeVar, cast

from nankeen.kernel import syscalls
from nankeen.lab import Lab, enter_lab
from nankeen.model.errors import LabError, NankeenError

_Result = TypeVar("_Result")
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def inside(lab: Lab, work: Callable[[], _Result]) -> _Result:
    """What `work` returns, or raises of our errors, where a child does it inside the lab.

    This process must have one thread. Its interruption ends the child. Raises `LabError` where the child ends without
    a word.
    """
    result, tell_result = os.pipe()
    held_back = _hold_back_signals()
    child = os.fork()
    if child == 0:
        os.close(result)
        _exit_with(lambda: _work(lab, work, tell_result))
    with os.fdopen(result, "rb") as pipe:
        try:
            os.close(tell_result)
            signal.pthread_sigmask(signal.SIG_SETMASK, held_back)
            data = pipe.read()
        except BaseException:
            os.kill(child, signal.SIGKILL)
            raise
        finally:
            os.waitpid(child, 0)
    if not data:
        raise LabError("a process inside it ended without a word", where=f"lab {lab.name}")
    returned, error = pickle.loads(data)  # noqa: S301 (our own child's)
    if error is not None:
        kind, problem, where, remedy = error
        raise kind(problem, where=where, remedy=remedy)
    return cast("_Result", returned)


def _hold_back_signals() -> set[int]:
    """Until the returned mask is set again. Python drops an exception that a signal raises while it forks."""
    return set(signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS))


def _work(lab: Lab, work: Callable[[], object], tell_result: int) -> None:
    for kind in _SIGNALS:
        signal.signal(kind, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    with os.fdopen(tell_result, "wb") as pipe:
        try:
            if lab.rootless and _enter_and_fork(lab):
                return
            pipe.write(pickle.dumps((work(), None)))
        except NankeenError as error:
            pipe.write(pickle.dumps((None, (type(error), error.problem, error.where, error.remedy))))


def _enter_and_fork(lab: Lab) -> bool:
    """Enters the lab and continues in a child, which is in its PID namespace. True once that child has ended."""
    if lab.supervisor is None:
        raise LabError("is not running", where=f"lab {lab.name}")
    path = f"/proc/{lab.supervisor.pid}/ns"
    network = os.open(f"{path}/net", os.O_RDONLY | os.O_CLOEXEC)  # one that can be left and come back to
    processes = os.open(f"{path}/pid", os.O_RDONLY | os.O_CLOEXEC)
    enter_lab(lab)
    syscalls.setns(network, syscalls.CLONE_NEWNET)
    syscalls.setns(processes, syscalls.CLONE_NEWPID)
    child = os.fork()
    if child:
        for kind in _SIGNALS:  # they reach the child as well, whose answer is waited for
            signal.signal(kind, signal.SIG_IGN)
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        os.waitpid(child, 0)
        return True
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
    return False


def _exit_with(work: Callable[[], None]) -> NoReturn:
    try:
        work()
    except Exception:  # noqa: BLE001 (no error of ours, but a mistake: told here, because it ends here)
        traceback.print_exc()
    finally:
        os._exit(0)
