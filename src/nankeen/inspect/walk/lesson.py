"""For who learns: why each table is asked, in a sentence or two, and what the concept is called."""

from __future__ import annotations

from nankeen.inspect.walk.part import Part

_LESSONS = {
    Part.CONTAINER_ROUTE: (
        "A pod is a network namespace with one device, eth0, whose other end (a veth pair) is a port of the node's "
        "bridge. All that its own routing table has to say is: the rest of the pod network is behind the bridge."
    ),
    Part.HOST_ROUTE: (
        "From here on the node is a router. It holds one route for each other node's pod subnet, written when that "
        "node's lease appeared, and the route says by which device the subnet is reached."
    ),
    Part.VXLAN: (
        "The device is a VTEP, an end of a VXLAN tunnel (RFC 7348). All VTEPs are as if on one Ethernet, so the next "
        "hop has a hardware address there. Nobody asks for it by ARP: the agent writes a permanent neighbour entry."
    ),
    Part.SECOND: (
        "The underlay knows neither pods nor VTEPs. So the whole Ethernet frame becomes the payload of an ordinary "
        "UDP packet between two nodes; the VNI in the VXLAN header tells one such overlay from another."
    ),
    Part.UDP: (
        "Only the address of the outer packet is missing: which node has that VTEP? The forwarding database (FDB) says "
        "so, an entry for each peer. Then the node's own routes and neighbours send the packet like any other."
    ),
    Part.DECAPSULATION: (
        "The peer's kernel sees a UDP packet for its VXLAN port and takes the outer headers off: what is left is the "
        "frame as it was. It is routed once more, to the bridge, which knows behind which port the pod is."
    ),
    Part.BRIDGE: (
        "Two pods of one node are on one Ethernet segment: the bridge. It has learned from earlier frames which "
        "hardware address is behind which port, and no routing table is asked."
    ),
    Part.UNDERLAY: (
        "The next hop is a node on the same network, so its hardware address is found by ARP (or IPv6 neighbour "
        "discovery) and the packet is sent as it is: no header is added, and no MTU is lost."
    ),
    Part.DELIVERY: (
        "The packet is where its destination is: a route of that host's own leads to the bridge and the pod's port, "
        "or the address is the host's own (the table `local`)."
    ),
    Part.IPIP: (
        "IP in IP (RFC 2003) is the thinnest tunnel: 20 bytes, one more IP header in front, and no hardware addresses."
    ),
    Part.WIREGUARD: (
        "WireGuard has no neighbours: the peer is the one that is allowed the destination (cryptokey routing), and its "
        "endpoint is where the encrypted packet goes."
    ),
}
_UDP_BACKEND = (
    "flannel0 is a TUN device: what is routed to it is read by a process. That looks the destination up in its own "
    "table and sends the packet as the payload of a datagram: the kernel's tables end here."
)
_UDP_DELIVERY = (
    "The peer's process receives the datagram and writes its payload to its own flannel0: for the kernel, a packet "
    "that came in by that device. It is routed once more, to the bridge, which knows the pod's port."
)


def lesson(part: Part, *, by_process: bool = False) -> str:
    """Why the table of this part is asked. `by_process`: the packet is carried by the udp backend's process."""
    if by_process and part is Part.UDP:
        return _UDP_BACKEND
    if by_process and part is Part.DECAPSULATION:
        return _UDP_DELIVERY
    return _LESSONS[part]
