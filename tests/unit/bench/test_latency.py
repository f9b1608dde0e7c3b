"""What ping prints."""

from __future__ import annotations

from bench.latency import times

PRINTED = """PING 10.244.2.2 (10.244.2.2) 56(84) bytes of data.
64 bytes from 10.244.2.2: icmp_seq=1 ttl=62 time=0.966 ms
64 bytes from 10.244.2.2: icmp_seq=2 ttl=62 time=12 ms

--- 10.244.2.2 ping statistics ---
2 packets transmitted, 2 received, 0% packet loss, time 403ms
rtt min/avg/max/mdev = 0.307/0.541/0.966/0.300 ms
"""


def test_the_time_of_each_echo_is_read_and_none_of_the_summary() -> None:
    assert times(PRINTED) == [0.966, 12]
