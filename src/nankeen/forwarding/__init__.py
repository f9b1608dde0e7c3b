"""Forwarding as a function: what becomes of a packet, decided from the observed state of all that it may pass.

    walk(World.of(hosts, wires), echo_request(source, destination)) -> Walk

It follows Linux 6: route.c, ip_forward.c, fib_frontend.c and arp.c of net/ipv4, route.c, ip6_output.c and ndisc.c of
net/ipv6, net/bridge, drivers/net/vxlan. It performs no I/O, and nothing of one packet has a part in the next but what
the caller hands on. What the state does not tell is told as unknown, never guessed.
"""

from nankeen.forwarding.hop import (
    Answered,
    Cause,
    Consulted,
    Delivered,
    Direction,
    Dropped,
    End,
    Hop,
    Passage,
    Unknown,
    Walk,
)
from nankeen.forwarding.packet import Packet, datagram, echo_request
from nankeen.forwarding.reply import error_of, reply_to
from nankeen.forwarding.walk import walk, walk_back
from nankeen.forwarding.world import Host, Port, Wire, World

__all__ = [
    "Answered",
    "Cause",
    "Consulted",
    "Delivered",
    "Direction",
    "Dropped",
    "End",
    "Hop",
    "Host",
    "Packet",
    "Passage",
    "Port",
    "Unknown",
    "Walk",
    "Wire",
    "World",
    "datagram",
    "echo_request",
    "error_of",
    "reply_to",
    "walk",
    "walk_back",
]
