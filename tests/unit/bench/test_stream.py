"""What is made of iperf3's report."""

from __future__ import annotations

import json

from bench.stream import _parse


def test_what_the_receiver_counted_and_what_the_machine_worked_meanwhile() -> None:
    report = json.dumps({"end": {"sum_received": {"bits_per_second": 4e9, "bytes": 1_500_000_000}}}, indent=1)
    before = "cpu  100 20 300 5000 60 7 8 9 50 0"
    after = "cpu  200 30 400 9000 90 8 9 999 99 0"
    transfer = _parse(f"{before}\n{report}\n{after}\n")
    assert (transfer.bits_per_second, transfer.bytes) == (4e9, 1_500_000_000)
    assert (
        transfer.processor == 2.12
    )  # user 100, nice 10, system 100, irq 1, softirq 1; idle, iowait, steal do not count
    assert transfer.seconds_per_gigabyte == 2.12 / 1.5
