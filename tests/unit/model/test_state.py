from ipaddress import ip_address, ip_interface, ip_network

import pytest

from nankeen.model.address import HardwareAddress
from nankeen.model.state import (
    PROTOCOL_KERNEL,
    PROTOCOL_NANKEEN,
    Address,
    Bridge,
    Device,
    ForwardingEntry,
    Ipip,
    Link,
    Neighbour,
    Object,
    Route,
    State,
    Sysctl,
    Vxlan,
)

MAC = HardwareAddress.parse("72:3c:2a:82:da:b9")


@pytest.mark.parametrize(
    "item, line",
    [
        (
            Link("flannel.1", Vxlan(1, "eth0", ip_address("10.9.0.1")), mtu=1450, address=MAC),
            (
                "flannel.1: vxlan id 1 local 10.9.0.1 dev eth0 dstport 8472 nolearning"
                " mtu 1450 address 72:3c:2a:82:da:b9 up"
            ),
        ),
        (
            Link("flannel.1", Vxlan(1, None, None, 4789, learning=True, gbp=True)),
            "flannel.1: vxlan id 1 dstport 4789 learning gbp up",
        ),
        (Link("cni0", Bridge(), up=False), "cni0: bridge down"),
        (Link("eth0", Device(""), mtu=1500, master="cni0"), "eth0: mtu 1500 master cni0 up"),
        (Address("flannel.1", ip_interface("10.5.34.0/32")), "inet 10.5.34.0/32 dev flannel.1"),
        (Address("flannel-v6.1", ip_interface("fc00:5::/128")), "inet6 fc00:5::/128 dev flannel-v6.1"),
        (
            Neighbour("flannel.1", ip_address("10.5.59.0"), MAC),
            "10.5.59.0 dev flannel.1 lladdr 72:3c:2a:82:da:b9 PERMANENT",
        ),
        (
            ForwardingEntry("flannel.1", MAC, ip_address("10.99.0.2")),
            "72:3c:2a:82:da:b9 dev flannel.1 dst 10.99.0.2 self permanent",
        ),
        (
            Route(ip_network("10.5.59.0/24"), "flannel.1", ip_address("10.5.59.0"), onlink=True),
            "10.5.59.0/24 via 10.5.59.0 dev flannel.1 onlink",
        ),
        (
            Route(ip_network("fc00:5:0:21::/64"), "flannel-v6.1", ip_address("fc00:5:0:21::"), onlink=True),
            "fc00:5:0:21::/64 via fc00:5:0:21:: dev flannel-v6.1 metric 1024 onlink",
        ),
        (
            Route(ip_network("0.0.0.0/0"), "eth0", ip_address("10.99.0.254"), metric=100, table=7),
            "default via 10.99.0.254 dev eth0 table 7 metric 100",
        ),
        (
            Route(ip_network("10.99.0.0/24"), "eth0", protocol=PROTOCOL_KERNEL, source=ip_address("10.99.0.1")),
            "10.99.0.0/24 dev eth0 proto kernel src 10.99.0.1",
        ),
        (
            Route(ip_network("10.5.2.0/24"), "eth0", ip_address("10.99.0.2"), protocol=PROTOCOL_NANKEEN),
            "10.5.2.0/24 via 10.99.0.2 dev eth0 proto 110",
        ),
        (Route.blackhole_of(ip_network("10.5.2.0/24")), "blackhole 10.5.2.0/24 proto 110 metric 32767"),
        (Route(ip_network("10.7.0.0/16"), "eth0", ip_address("fe80::1")), "10.7.0.0/16 via inet6 fe80::1 dev eth0"),
        (
            Link("flannel.ipip", Ipip(ip_address("10.99.0.1")), mtu=1480),
            "flannel.ipip: ipip remote any local 10.99.0.1 mtu 1480 up",
        ),
        (Sysctl("net/ipv6/conf/flannel.1/accept_ra", "0"), "net/ipv6/conf/flannel.1/accept_ra = 0"),
    ],
)
def test_an_object_is_the_line_that_iproute_prints(item: Object, line: str) -> None:
    assert str(item) == line


def test_what_a_desired_link_leaves_open_is_satisfied_by_anything() -> None:
    observed = Link("eth0", Device(""), mtu=1500, address=MAC, master="", txqlen=1000)
    assert Link("eth0", Device("")).satisfied_by(observed)
    assert not Link("eth0", Device(""), mtu=1400).satisfied_by(observed)
    assert not Link("eth0", Device(""), up=False).satisfied_by(observed)


def test_an_ipv6_route_without_a_metric_is_the_one_of_metric_1024() -> None:
    network = ip_network("fc00:5::/64")
    assert Route(network, "eth0").identity == Route(network, "eth0", metric=1024).identity
    assert Route(network, "eth0").satisfied_by(Route(network, "eth0", metric=1024))


def test_a_sysctl_of_one_device_hangs_on_it() -> None:
    assert Sysctl("net/ipv6/conf/flannel.1/accept_ra", "0").device == "flannel.1"
    assert Sysctl("net/ipv6/conf/all/forwarding", "1").device is None
    assert Sysctl("net/ipv4/ip_forward", "1").device is None


def test_two_different_objects_of_one_identity_cannot_stand_side_by_side() -> None:
    network = ip_network("10.5.59.0/24")
    with pytest.raises(ValueError, match="cannot stand side by side"):
        State([Route(network, "eth0"), Route(network, "eth1")])


def test_a_state_is_a_set_of_objects() -> None:
    one, other = Sysctl("net/ipv4/ip_forward", "1"), Sysctl("net/ipv6/conf/all/forwarding", "1")
    assert State([one, other, one]) == State([other]) | State([one])
    assert hash(State([one, other])) == hash(State([other, one]))
    assert len(State([one, one])) == 1
    assert list(State([one]).of(Sysctl)) == [one]
    assert list(State([one]).of(Link)) == []
