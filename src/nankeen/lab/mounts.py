"""What a lab's members see of the file system: the machine's own, and over it the directories that a pod network uses.

Nothing is written to the machine: what has to exist under /etc, /opt and /var/lib is made on an overlay in memory, and
all of it goes with the lab's mount namespace (mount_namespaces(7)).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

from nankeen.kernel import namespace, syscalls
from nankeen.kernel.syscalls import MS_BIND, MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_REC, MS_SLAVE, mount

BOUND = ("run/flannel", "run/nankeen", "var/lib/cni", "var/lib/nankeen", "etc/cni/net.d")
"""What each node has for itself, and the machine sees under the node's directory in the lab's."""
PLUGINS = "opt/cni/bin"
"""Each node's own too, but in memory: on many machines the lab's directory may not hold executables."""
SCRATCH = Path("/run/nankeen-lab.scratch")
"""Inside the lab only."""


def prepare_machine() -> None:
    """What has to stand before a root's lab leaves the machine's mount namespace: /run/netns, so that names cross."""
    namespace.prepare()


def enter_lab_mounts(kept: Sequence[Path]) -> None:
    """Gives this process a mount namespace for a whole lab. `kept` are directories under /run that stay as they are."""
    syscalls.unshare(syscalls.CLONE_NEWNS)
    _receive_only(apart=namespace.NAMED)
    _cover_run(kept)
    covered: set[Path] = set()
    for target in (*BOUND, PLUGINS):
        _make_mount_point(Path("/", target), covered)
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)


def enter_node_mounts(name: str, directory: Path) -> None:
    """Gives this process, which is in the lab's mount namespace and the node's network namespace, the node's mounts."""
    _own_mounts()
    for target in BOUND:
        source = directory / target
        source.mkdir(parents=True, exist_ok=True)
        mount(str(source), f"/{target}", flags=MS_BIND)
    plugins = SCRATCH / name
    plugins.mkdir()
    mount(str(plugins), f"/{PLUGINS}", flags=MS_BIND)
    _mount_sysfs()


def enter_container_mounts() -> None:
    """Gives this process, the first of its PID namespace, a container's mounts: its own /proc and /sys."""
    _own_mounts()
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    _mount_sysfs()


def _own_mounts() -> None:
    syscalls.unshare(syscalls.CLONE_NEWNS)
    mount("", "/", flags=MS_SLAVE | MS_REC)


def _mount_sysfs() -> None:
    """/sys shows the devices of the network namespace it was mounted in. Where that is not allowed the old stays."""
    try:
        mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    except OSError as error:
        if error.errno != errno.EPERM:  # a container that hides parts of /sys (mount_too_revealing in fs/namespace.c)
            raise


def _receive_only(apart: Path) -> None:
    """Lets mounts of the machine appear here, and none of ours there; those below `apart` cross both ways."""
    for point in _mount_points():
        if point != apart and apart not in point.parents:
            mount("", str(point), flags=MS_SLAVE)


def _cover_run(kept: Sequence[Path]) -> None:
    """A /run in memory: what nodes make there must not meet the machine's own."""
    machine = os.open("/run", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        mount("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
        for path in kept:
            path.mkdir(parents=True)
            mount(f"/proc/self/fd/{machine}/{path.relative_to('/run')}", str(path), flags=MS_BIND | MS_REC)
    finally:
        os.close(machine)
    SCRATCH.mkdir()
    if namespace.NAMED not in kept:
        namespace.prepare()


def _make_mount_point(target: Path, covered: set[Path]) -> None:
    """Makes a directory; where the machine lacks it, on an overlay over the nearest one that it has.

    `covered` are the directories that have an overlay: one is enough.
    """
    if target.is_dir():
        return
    if not target.is_relative_to("/run") and not covered.intersection(target.parents):
        nearest = next(parent for parent in target.parents if parent.is_dir())
        _cover_with_overlay(nearest)
        covered.add(nearest)
    target.mkdir(parents=True)


def _cover_with_overlay(directory: Path) -> None:
    """Puts an overlay in memory over a directory of the machine; what is mounted below it shows through."""
    mounted = [point for point in _mount_points() if directory in point.parents]
    layers = SCRATCH / "overlay" / directory.relative_to("/")
    upper, work = layers / "upper", layers / "work"
    upper.mkdir(parents=True)
    work.mkdir()
    machine = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        options = f"lowerdir={directory},upperdir={upper},workdir={work},userxattr"
        mount("overlay", str(directory), "overlay", MS_NODEV, options)
        for point in mounted:
            mount(f"/proc/self/fd/{machine}/{point.relative_to(directory)}", str(point), flags=MS_BIND | MS_REC)
    finally:
        os.close(machine)


def _mount_points() -> list[Path]:
    """Where something is mounted, outermost first (proc(5), /proc/PID/mountinfo; blanks are written in octal)."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = {line.split()[4].encode().decode("unicode_escape") for line in lines}
    return sorted(map(Path, points))
