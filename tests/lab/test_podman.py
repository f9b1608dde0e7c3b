"""Containers that Podman attaches, by its older way: CNI. It reads the agent's own configuration list."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path

from bench.leftovers import of_pods
from tests.lab.cri.containerd import BUSYBOX, IMAGE, alone_on, need, remove_cgroups
from tests.lab.cri.image import archive
from tests.lab.standing import network, standing

_SETTINGS = """\
[containers]
log_driver = "k8s-file"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
[network]
network_backend = "cni"
cni_plugin_dirs = ["/opt/cni/bin"]
network_config_dir = "/etc/cni/net.d"
default_network = "cbr0"
"""
_SCRIPT = """\
exec 3>&1 >&2
mount -t tmpfs none /dev/shm
export CONTAINERS_CONF={directory}/containers.conf
cp /opt/cni/bin/nankeen /opt/cni/bin/loopback
podman() {{
    command podman --root {directory}/root --runroot /run/podman --tmpdir /run/podman/tmp --storage-driver vfs "$@"
}}
podman load --input {directory}/image.tar
podman run --detach --name web --cgroup-parent {cgroup} --publish 18080:7000 --entrypoint /bin/busybox {image} \
    httpd -f -p 7000 -h /bin
podman inspect web --format '{{{{json .NetworkSettings.Networks}}}}' >&3
for other in {others}; do podman exec web /bin/busybox ping -c 1 -W 5 $other; done
podman exec web /bin/busybox wget -q -O /dev/null http://{node}:18080/busybox
podman rm --force --time 0 web
"""


def test_podmans_containers_are_pods_like_others_and_leave_nothing() -> None:
    need("podman", "conmon")
    with standing(network({"Type": "vxlan"})) as lab, tempfile.TemporaryDirectory(prefix="nk-") as directory:
        node = lab.node("node1")
        Path(directory, "containers.conf").write_text(_SETTINGS)
        Path(directory, "image.tar").write_bytes(archive(IMAGE, BUSYBOX))
        cgroup = f"/nankeen-{Path(directory).name}"
        others = " ".join(str(address.ip) for pod in lab.pods for address in pod.addresses)
        script = _SCRIPT.format(
            directory=directory, image=IMAGE, cgroup=cgroup, others=others, node=node.addresses[0].ip
        )
        before = of_pods(node)
        try:
            done = subprocess.run(alone_on(lab.lab, "node1", script), capture_output=True, check=False, text=True)
        finally:
            remove_cgroups(cgroup)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["cbr0"]["IPAddress"].startswith("10.244.")
        assert of_pods(node) == before
