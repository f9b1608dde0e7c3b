"""What `/metrics` tells."""

from __future__ import annotations

import subprocess
import sys

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families

from nankeen import __version__
from nankeen.agent.health import pages
from nankeen.agent.metrics import exposition, of_data_path, of_status
from nankeen.agent.status import Status
from nankeen.tunnel.control import VERSION, Counters, Report

STATUS = Status(
    "node1", ready=True, peers=7, rejected={"a": "x", "b": "y"}, refused=("z",), repaired=3, revision=9, expires=1e9
)


def samples(text: bytes) -> dict[str, float]:
    found = text_string_to_metric_families(text.decode())
    return {sample.name: sample.value for family in found for sample in family.samples}


def test_the_status_is_told_in_numbers() -> None:
    told = samples(exposition([lambda: of_status(STATUS)]))
    assert {name: value for name, value in told.items() if name.startswith("nankeen_")} == {
        "nankeen_ready": 1,
        "nankeen_peers": 7,
        "nankeen_leases_rejected": 2,
        "nankeen_changes_refused": 1,
        "nankeen_repaired_total": 3,
        "nankeen_lease_expiry_timestamp_seconds": 1e9,
        "nankeen_registry_revision": 9,
        "nankeen_build_info": 1,
    }
    assert told["process_resident_memory_bytes"] > 0


def test_the_version_is_a_label() -> None:
    assert f'version="{__version__}"' in exposition([lambda: of_status(STATUS)]).decode()


def test_a_lease_that_does_not_expire_has_no_time_of_it() -> None:
    assert b"expiry" not in exposition([lambda: of_status(Status("node1"))])


def test_the_data_path_is_told_by_peer_and_by_reason() -> None:
    report = Report("TUN TSO", {"node2": Counters(1, 2, 3, 4), "node\n3": Counters()}, {"no peer": 5})
    text = exposition([lambda: of_data_path(report)]).decode()
    lines = [line for line in text.splitlines() if line.startswith("nankeen_tunnel_") and "created" not in line]
    assert lines == [
        'nankeen_tunnel_sent_packets_total{peer="node2"} 1.0',
        'nankeen_tunnel_sent_packets_total{peer="node\\\\n3"} 0.0',
        'nankeen_tunnel_sent_bytes_total{peer="node2"} 2.0',
        'nankeen_tunnel_sent_bytes_total{peer="node\\\\n3"} 0.0',
        'nankeen_tunnel_received_packets_total{peer="node2"} 3.0',
        'nankeen_tunnel_received_packets_total{peer="node\\\\n3"} 0.0',
        'nankeen_tunnel_received_bytes_total{peer="node2"} 4.0',
        'nankeen_tunnel_received_bytes_total{peer="node\\\\n3"} 0.0',
        'nankeen_tunnel_drops_total{reason="no peer"} 5.0',
        f'nankeen_tunnel_info{{path="TUN TSO",version="{VERSION}"}} 1.0',
    ]


def test_others_add_what_they_count() -> None:
    page = pages(lambda: STATUS, [lambda: [GaugeMetricFamily("tunnel_peers", "Peers.", value=2)]])["/metrics"]
    assert samples(page().body)["tunnel_peers"] == 2
    assert page().content_type.startswith("text/plain; version=0.0.4")


def test_its_library_is_not_loaded_before_somebody_asks() -> None:
    program = "import sys, nankeen.agent.daemon; print(*sys.modules, sep='\\n')"
    run = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert not {"prometheus_client", "grpc", "http.server"} & set(run.stdout.split())
